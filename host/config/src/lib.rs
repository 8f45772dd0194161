//! The configuration: read from its sources, merged, expanded, checked. All problems are reported
//! at once. The result is a [`Config`] whose types cannot hold a wrong value.
//!
//! Keys, defaults and rules of merging are the OpenTelemetry Collector's. `host/CONFIGURATION.md`
//! has every key. The main ones that Spandrel adds:
//!
//! - `processors: { wasm/NAME: { module, config, on_fault, limits, probation } }` ([`processor`]);
//!   a relative `module` is looked up from the working directory, as all paths are;
//! - `service::shards` (default: cores), `service::drain_timeout` (25s), `service::drain_delay`
//!   (0s), `service::watch` (true), and `ack_on: queue | export` of a pipeline ([`service`]);
//! - `durability: { dir, sync, sync_interval, max_bytes, max_age, strict }` of a pipeline
//!   ([`durability`]), instead of `sending_queue::storage`;
//! - `module: { file | url, sha256, signature, public_keys, on_unreachable }` ([`module`]) and
//!   `service::plugins` ([`plugins`]): where plugins may come from, and who must have signed them;
//! - `max_in_flight_mib` of the `otlp` receiver, and `sending_queue::max_mib`: bounds on memory
//!   that the Collector leaves to its `memory_limiter`.
//!
//! An environment variable that is not set and has no default is a problem here. The Collector
//! replaces it with nothing, and may therefore listen on every address.

mod check;
mod component;
pub mod examination;
pub mod id;
mod key;
pub mod plugins;
pub mod problem;
pub mod reference;
pub mod service;
pub mod suggest;
mod text;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use spandrel_supply::Digest;

pub use self::component::processor::{memory_limiter, module, probation};
pub use self::component::{exporter, extension, net, processor, receiver};
use self::examination::Examination;
use self::exporter::Exporter;
use self::id::Id;
use self::problem::{ConfigError, Problem};
use self::processor::Wasm;
use self::receiver::Receiver;
use self::service::Service;
pub use self::service::{durability, telemetry};
use self::source::Sources;
pub use self::text::{duration, json, plugin_config, source};

/// The configuration that runs when none is given: OTLP/gRPC on the loopback, printed by `debug`.
pub const DEFAULT: &str = "\
receivers: { otlp: { protocols: { grpc: { endpoint: 127.0.0.1:4317 } } } }
exporters: { debug: { verbosity: basic } }
extensions: { health_check: { endpoint: 127.0.0.1:13133 } }
service:
  extensions: [health_check]
  pipelines:
    traces: { receivers: [otlp], exporters: [debug] }
    metrics: { receivers: [otlp], exporters: [debug] }
    logs: { receivers: [otlp], exporters: [debug] }
";

/// The number of instances kept spare for plugins that come with a reload. While fewer are in use,
/// they cost only address space.
pub const SPARE_INSTANCES: usize = 64;

/// A checked configuration.
#[derive(Debug)]
pub struct Config {
    /// The service: everything that runs, with the components that it names.
    pub service: Service,
    /// Warnings about settings that are accepted but do not do what the operator may think.
    pub warnings: Vec<Problem>,
    /// The files that it was read from, with the digests of their contents.
    pub files: Vec<(PathBuf, Digest)>,
}

impl Config {
    /// Reads, merges, expands and checks. Variables are looked up in the process' environment.
    pub fn load(sources: &Sources) -> Result<Self, ConfigError> {
        Self::load_with(sources, &|name| std::env::var(name).ok())
    }

    /// Does the same as [`Config::load`] with another environment.
    pub fn load_with(
        sources: &Sources,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigError> {
        Examination::read_with(sources, environment).into_config()
    }

    /// Returns the number of shards of each pipeline.
    pub fn shards(&self) -> usize {
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        self.service.shards.unwrap_or_else(cores)
    }

    /// Returns the number of plugin instances to have room for: those that this configuration needs,
    /// and [`SPARE_INSTANCES`].
    pub fn instances(&self) -> usize {
        let pipelines = self.service.pipelines.iter();
        let stages: usize = pipelines.map(|pipeline| pipeline.stages.len()).sum();
        // The running one, a candidate beside it, what replaces either, and what probes it.
        stages
            .saturating_mul(self.shards())
            .saturating_mul(4)
            .saturating_add(SPARE_INSTANCES)
    }

    /// Returns every stage once, whichever pipelines it is in.
    pub fn stages(&self) -> BTreeMap<Id, Arc<Wasm>> {
        let pipelines = self.service.pipelines.iter();
        let stages = pipelines.flat_map(|pipeline| &pipeline.stages);
        let stages = stages.map(|stage| (stage.id.clone(), Arc::clone(&stage.wasm)));
        stages.collect()
    }

    /// Returns the receivers that pipelines name, each once.
    pub fn receivers(&self) -> Vec<&Arc<Receiver>> {
        let named = self
            .service
            .pipelines
            .iter()
            .flat_map(|pipeline| &pipeline.receivers);
        once(named, |receiver| receiver.id.as_str())
    }

    /// Returns the exporters that pipelines name, each once.
    pub fn exporters(&self) -> Vec<&Arc<Exporter>> {
        let named = self
            .service
            .pipelines
            .iter()
            .flat_map(|pipeline| &pipeline.exporters);
        once(named, |exporter| exporter.id.as_str())
    }
}

fn once<'a, T>(all: impl Iterator<Item = &'a Arc<T>>, id: impl Fn(&T) -> &str) -> Vec<&'a Arc<T>> {
    let mut unique: Vec<&Arc<T>> = Vec::new();
    for component in all {
        if !unique.iter().any(|known| id(known) == id(component)) {
            unique.push(component);
        }
    }
    unique
}
