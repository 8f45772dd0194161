//! `service`: the configured components that run, and their connections.

pub mod durability;
mod pipeline;
pub mod telemetry;

use std::sync::Arc;
use std::time::Duration;

pub use self::pipeline::{Limiter, Pipeline, Stage};
use self::telemetry::Telemetry;
use crate::component::Components;
use crate::component::extension::Extension;
use crate::plugins::Plugins;
use crate::text::section::Section;

/// The configured components that run, and their connections.
#[derive(Debug)]
pub struct Service {
    /// The extensions to start.
    pub extensions: Vec<Arc<Extension>>,
    /// The pipelines; at least one.
    pub pipelines: Vec<Pipeline>,
    /// The number of shards of each pipeline; `None` for one on each core.
    pub shards: Option<usize>,
    /// The deadline of the drain, all phases together.
    pub drain_timeout: Duration,
    /// The time to go on accepting after readiness is gone, so that load balancers notice.
    pub drain_delay: Duration,
    /// The settings of the collector's own logs and metrics.
    pub telemetry: Telemetry,
    /// True if the files of the plugins and of the configuration are watched, and changes come into
    /// force automatically.
    pub watch: bool,
    /// The rules on where plugins may come from, who must have signed them, and how they are
    /// compiled.
    pub plugins: Arc<Plugins>,
}

/// The time limits of a drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrainTiming {
    /// The limit for all phases together, the delay included.
    pub timeout: Duration,
    /// The time to go on accepting after readiness is gone.
    pub delay: Duration,
}

impl Service {
    /// Returns the time limits of a drain.
    pub fn drain_timing(&self) -> DrainTiming {
        DrainTiming {
            timeout: self.drain_timeout,
            delay: self.drain_delay,
        }
    }
}

/// The longest drain that is worth waiting for: an orchestrator kills the process long before.
const LONGEST_DRAIN: Duration = Duration::from_secs(3600);

pub(crate) fn read(section: &Section<'_>, components: &Components) -> Option<Service> {
    let extensions = section.texts("extensions").into_iter();
    let extensions = extensions.filter_map(|(name, node)| {
        let known = &components.extensions;
        known.resolve(section, name, node)
    });
    let extensions = extensions.collect();
    let telemetry = telemetry::read(&section.section("telemetry"));
    let shards = section
        .node("shards")
        .map(|_| section.integer("shards", 1, 1..=1024));
    // Less than the 30 seconds that Kubernetes gives, so that the process has time left to end.
    let drain_timeout = section.duration_positive("drain_timeout", Duration::from_secs(25));
    let drain_delay = section.duration("drain_delay", Duration::ZERO);
    if drain_timeout > LONGEST_DRAIN {
        section.wrong_key(
            "drain_timeout",
            "longer than an hour",
            "write one such as 25s",
        );
    }
    if drain_delay >= drain_timeout {
        let what =
            format!("{drain_delay:?} leaves no time of drain_timeout, which is {drain_timeout:?}");
        section.wrong_key(
            "drain_delay",
            what,
            "write a shorter delay or a longer drain_timeout",
        );
    }
    let watch = section.boolean("watch", true);
    let pipelines = pipeline::read_all(section, components);
    let pipelines = pipelines.into_iter().collect::<Option<Vec<_>>>()?;
    Some(Service {
        extensions,
        pipelines,
        shards,
        drain_timeout,
        drain_delay,
        telemetry,
        watch,
        plugins: Arc::clone(&components.plugins),
    })
}
