//! `service::pipelines`: the path of each signal from its receivers to its exporters.

use std::sync::Arc;

use spandrel_pipeline::batcher::BatcherConfig;
use spandrel_pipeline::pipeline::AckOn;
use spandrel_wire::Signal;

use super::durability::{self, Durability};
use crate::component::Components;
use crate::component::catalog::Reference;
use crate::component::exporter::Exporter;
use crate::component::processor::memory_limiter::MemoryLimiter;
use crate::component::processor::{Processor, ProcessorKind, Wasm};
use crate::component::receiver::Receiver;
use crate::id::Id;
use crate::problem::{Location, Problem, Problems};
use crate::text::section::Section;
use crate::text::tree::Entry;

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
    /// The settings of its journal, if it has one. Accepted batches are then on disk before the
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

/// The names of the signals, which are the types of pipelines.
const SIGNALS: &[&str] = &["traces", "metrics", "logs"];

/// Reads all pipelines; `None` stands for one that has problems.
pub(super) fn read_all(service: &Section<'_>, components: &Components) -> Vec<Option<Pipeline>> {
    let section = service.section("pipelines");
    let problems = section.problems();
    let at = section.at().clone();
    let path = section.path().to_owned();
    let mut places = Vec::new();
    let pipelines: Vec<_> = section
        .into_named(SIGNALS)
        .map(|(entry, path)| {
            places.push((entry.at.clone(), path.clone()));
            let section = Section::named(entry, path, problems);
            let (id, signal) = read_pipeline_id(entry, &section);
            read_pipeline(id, signal, &section, components)
        })
        .collect();
    check_apart(&pipelines, &places, problems);
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
    let receivers = components.receivers.references(section, "receivers");
    let processors = components.processors.references(section, "processors");
    let exporters = components.exporters.references(section, "exporters");
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

fn read_processors(
    signal: Option<Signal>,
    section: &Section<'_>,
    processors: Vec<Reference<'_, Processor>>,
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

/// Notes a pipeline whose folder lies in that of another: each would find files that are not its
/// own.
fn check_apart(pipelines: &[Option<Pipeline>], places: &[(Location, String)], problems: &Problems) {
    let durable = || {
        let pipelines = pipelines.iter().zip(places);
        pipelines.filter_map(|(pipeline, place)| {
            let pipeline = pipeline.as_ref()?;
            Some((&pipeline.id, &pipeline.durability.as_ref()?.dir, place))
        })
    };
    for (id, dir, (at, path)) in durable() {
        let mut within =
            durable().filter(|(other, around, _)| *other != id && dir.starts_with(around));
        if let Some((other, ..)) = within.next() {
            let shown = dir.display();
            let what = format!("its folder {shown} lies in that of pipeline `{other}`");
            let problem = Problem::at(at, format!("{path}::durability::dir"), what);
            problems.add(
                problem.instead("give both the same `dir`: each has a folder of its own in it"),
            );
        }
    }
}
