//! `service`: the configured components that run, and their connections.

use std::sync::Arc;
use std::time::Duration;

use spandrel_pipeline::batcher::BatcherConfig;
use spandrel_pipeline::pipeline::AckOn;
use spandrel_wire::Signal;

use super::check::{Components, Named};
use super::durability::{self, Durability};
use super::exporter::Exporter;
use super::extension::Extension;
use super::id::Id;
use super::memory_limiter::MemoryLimiter;
use super::plugins::Plugins;
use super::problem::{Location, Problem};
use super::processor::{Processor, ProcessorKind, Wasm};
use super::receiver::Receiver;
use super::section::Section;
use super::suggest::closest;
use super::telemetry::{self, Telemetry};
use super::tree::{Entry, Node};

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

/// One pipeline. It holds the checked components: no name is left to look up.
#[derive(Debug)]
pub struct Pipeline {
    /// Its key: a signal, or `signal/name`.
    pub id: Id,
    /// The signal that goes through it.
    pub signal: Signal,
    /// The receivers; at least one.
    pub receivers: Vec<Arc<Receiver>>,
    /// The names of all of its processors, in order.
    pub processors: Vec<Id>,
    /// The stages, in order; empty for a pass-through.
    pub stages: Vec<Stage>,
    /// The `batch` processor at the end, if there is one.
    pub batch: Option<BatcherConfig>,
    /// The exporters; at least one.
    pub exporters: Vec<Arc<Exporter>>,
    /// The time at which senders get their answer.
    pub ack_on: AckOn,
    /// The settings of its journal, if it has one. What it accepts is then on disk before the
    /// sender gets its OK.
    pub durability: Option<Durability>,
    /// The memory limiters. While one of them refuses, so does the pipeline.
    pub limiters: Vec<Limiter>,
}

/// A `memory_limiter` of a pipeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limiter {
    /// Its key in the configuration.
    pub id: Id,
    /// Its limits.
    pub settings: MemoryLimiter,
    /// True if it comes before all other processors.
    pub is_first: bool,
}

/// A plugin at its place in a pipeline.
#[derive(Clone, Debug)]
pub struct Stage {
    /// Its key in the configuration.
    pub id: Id,
    /// The plugin, its config, limits and fault policy; shared by all pipelines that name it.
    pub wasm: Arc<Wasm>,
}

/// The longest drain that is worth waiting for: an orchestrator kills the process long before.
const LONGEST_DRAIN: Duration = Duration::from_secs(3600);

pub(crate) fn read(section: &Section<'_>, components: &Components) -> Option<Service> {
    let extensions = section
        .texts("extensions")
        .into_iter()
        .filter_map(|(name, node)| {
            let owner = Owner {
                section,
                path: section.path().to_owned(),
            };
            owner.resolve("extension", name, node, &components.extensions)
        })
        .collect();
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
    let pipelines = read_pipelines(section, components);
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

fn read_pipelines(service: &Section<'_>, components: &Components) -> Vec<Option<Pipeline>> {
    let section = service.section("pipelines");
    let problems = section.problems();
    let at = section.at().clone();
    let path = section.path().to_owned();
    let mut places = Vec::new();
    let pipelines: Vec<_> = section
        .into_named()
        .map(|(entry, path)| {
            places.push((entry.at.clone(), path.clone()));
            let section = Section::named(entry, path, problems);
            let (id, signal) = read_pipeline_id(entry, &section);
            read_pipeline(id, signal, &section, components)
        })
        .collect();
    durability::check_apart(&pipelines, &places, problems);
    if pipelines.is_empty() {
        let problem = Problem::at(&at, path, "there must be at least one pipeline");
        problems
            .add(problem.instead("add `traces: { receivers: [otlp], exporters: [otlp_grpc] }`"));
    }
    pipelines
}

fn read_pipeline_id(entry: &Entry, section: &Section<'_>) -> (Option<Id>, Option<Signal>) {
    let id = match Id::parse(&entry.key) {
        Ok(id) => id,
        Err(instead) => {
            section.wrong("this is not the name of a pipeline", instead);
            return (None, None);
        }
    };
    let signal = match id.kind() {
        "traces" => Some(Signal::Traces),
        "metrics" => Some(Signal::Metrics),
        "logs" => Some(Signal::Logs),
        other => {
            let what = format!("unknown signal `{other}`");
            section.wrong(
                what,
                "write traces, metrics or logs, each with a /name where there are several",
            );
            None
        }
    };
    (Some(id), signal)
}

fn read_pipeline(
    id: Option<Id>,
    signal: Option<Signal>,
    section: &Section<'_>,
    components: &Components,
) -> Option<Pipeline> {
    let owner = Owner {
        section,
        path: section.path().to_owned(),
    };
    let receivers = owner.resolve_all("receiver", "receivers", &components.receivers);
    let processors = owner.resolve_all("processor", "processors", &components.processors);
    let exporters = owner.resolve_all("exporter", "exporters", &components.exporters);
    for (kind, key, count) in [
        ("receiver", "receivers", receivers.len()),
        ("exporter", "exporters", exporters.len()),
    ] {
        if count == 0 {
            section.wrong(
                format!("must have at least one {kind}"),
                format!("add `{key}: [...]`"),
            );
        }
    }
    let ack_on = section.choice(
        "ack_on",
        AckOn::Queue,
        &[("queue", AckOn::Queue), ("export", AckOn::Export)],
    );
    let durability = read_durability(id.as_ref(), section, ack_on);
    let names = processors
        .iter()
        .filter_map(|(processor, _)| processor.as_ref());
    let names = names.map(|processor| processor.id.clone()).collect();
    let Processors {
        stages,
        batch,
        limiters,
    } = read_processors(signal, section, processors);
    Some(Pipeline {
        id: id?,
        signal: signal?,
        receivers: receivers
            .into_iter()
            .map(|(component, _)| component)
            .collect::<Option<_>>()?,
        processors: names,
        stages,
        batch,
        exporters: exporters
            .into_iter()
            .map(|(component, _)| component)
            .collect::<Option<_>>()?,
        ack_on,
        durability,
        limiters,
    })
}

fn read_durability(id: Option<&Id>, pipeline: &Section<'_>, ack_on: AckOn) -> Option<Durability> {
    if !pipeline.has("durability") {
        return None;
    }
    let section = pipeline.section("durability");
    if ack_on == AckOn::Export {
        section.wrong(
            "with a journal senders get their OK once the batch is on disk, and `ack_on: export` says later",
            "remove one of the two",
        );
    }
    durability::read(id, &section)
}

/// The parts of a pipeline that its processors define.
#[derive(Default)]
struct Processors {
    stages: Vec<Stage>,
    batch: Option<BatcherConfig>,
    limiters: Vec<Limiter>,
}

/// A component of a pipeline; `None` if its own problems are reported already.
type Resolved<'a, T> = (Option<Arc<T>>, &'a Location);

fn read_processors(
    signal: Option<Signal>,
    section: &Section<'_>,
    processors: Vec<Resolved<'_, Processor>>,
) -> Processors {
    let last = processors.len().saturating_sub(1);
    let mut all = Processors::default();
    for (index, (processor, at)) in processors.into_iter().enumerate() {
        let Some(processor) = processor else { continue };
        let wrong = |what: String, instead: &str| {
            let problem = Problem::at(at, section.path(), what);
            section.problems().add(problem.instead(instead));
        };
        match &processor.kind {
            ProcessorKind::Wasm(wasm) => {
                if signal.is_some_and(|signal| signal != Signal::Traces) {
                    let what = format!("processor \"{}\" takes traces only", processor.id);
                    wrong(
                        what,
                        "remove it from this pipeline: metrics and logs pass as they are",
                    );
                }
                all.stages.push(Stage {
                    id: processor.id.clone(),
                    wasm: Arc::clone(wasm),
                });
            }
            ProcessorKind::Batch(settings) => {
                if index != last {
                    let what = format!("processor \"{}\" must stand last", processor.id);
                    wrong(
                        what,
                        "move it to the end: batching happens in front of the exporters",
                    );
                }
                all.batch = Some(settings.clone());
            }
            ProcessorKind::MemoryLimiter(settings) => all.limiters.push(Limiter {
                id: processor.id.clone(),
                settings: *settings,
                is_first: index == 0,
            }),
        }
    }
    all
}

/// The section that names other components.
struct Owner<'s, 'a> {
    section: &'s Section<'a>,
    path: String,
}

impl<'a> Owner<'_, 'a> {
    fn resolve_all<T>(
        &self,
        kind: &str,
        key: &'static str,
        known: &Named<T>,
    ) -> Vec<Resolved<'a, T>> {
        let mut seen: Vec<&str> = Vec::new();
        let mut resolved = Vec::new();
        for (name, node) in self.section.texts(key) {
            if seen.contains(&name) {
                let what = format!("references {} more than once", named(kind, name, node));
                let problem = Problem::at(&node.at, self.path.as_str(), what);
                self.section.problems().add(problem.instead("name it once"));
                continue;
            }
            seen.push(name);
            resolved.push((self.resolve(kind, name, node, known), &node.at));
        }
        resolved
    }

    fn resolve<T>(&self, kind: &str, name: &str, node: &Node, known: &Named<T>) -> Option<Arc<T>> {
        if let Some((_, component)) = known.iter().find(|(id, _)| id.as_str() == name) {
            return component.clone();
        }
        let what = format!(
            "references {} which is not configured",
            named(kind, name, node)
        );
        let names: Vec<&str> = known.keys().map(Id::as_str).collect();
        let instead = match closest(name, &names) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => format!("add it under `{kind}s`"),
        };
        self.section
            .problems()
            .add(Problem::at(&node.at, self.path.as_str(), what).instead(instead));
        None
    }
}

/// Returns a component's kind and name. The name is left out if it may be a secret.
pub(crate) fn named(kind: &str, name: &str, node: &Node) -> String {
    if node.hidden {
        format!("this {kind}")
    } else {
        format!("{kind} \"{name}\"")
    }
}
