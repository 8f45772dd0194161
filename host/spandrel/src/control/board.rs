//! The board: the state of the running collector that everybody may read. The one task that changes
//! the collector writes it; readers do not wait for that task.

mod books;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use spandrel_pipeline::ledger::{Books, Ledger};
use spandrel_pipeline::stage::{Comparison, Mode, Said};

use self::books::{figures_view, joined, ledger_view};
use super::Views;
use super::api::{
    DifferenceView, EventView, FiguresView, GenerationView, PipelineView, ShadowView, StageView,
    UndoneView,
};
use super::drift::drift;
use super::lineup::{Loaded, Stage, Undone, Watch};
use super::redact::redacted;
use crate::quarantine::shelves::Shelves;
use crate::telemetry::health::rfc3339;

/// The number of events that are remembered: some days of a busy team's changes.
const EVENTS: usize = 512;
/// The number of kinds of difference that a shadow's report shows.
const DIFFERENCES: usize = 100;

/// The state of the running collector that everybody may read.
#[derive(Debug, Default)]
pub(crate) struct Board(Mutex<Shown>);

#[derive(Debug, Default)]
struct Shown {
    pipelines: Vec<PipelineShown>,
    stages: Vec<StageView>,
    shadows: BTreeMap<String, (u64, u64, Comparison)>,
    events: VecDeque<EventView>,
    sequence: u64,
    /// Swaps so far, by stage and outcome.
    swaps: BTreeMap<(String, &'static str), u64>,
    /// Durations of the published swaps, by stage.
    durations: BTreeMap<String, Durations>,
    shelves: Arc<Shelves>,
}

/// The summed durations of swaps.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Durations {
    pub(crate) swaps: u64,
    pub(crate) seconds: f64,
    /// The longest pause of a shard in any of them.
    pub(crate) longest_pause_seconds: f64,
}

/// The parts of a pipeline's view that stay the same between two changes, and its ledger.
#[derive(Clone, Debug)]
pub(crate) struct PipelineShown {
    pub(crate) view: PipelineView,
    pub(crate) ledger: Arc<Ledger>,
}

impl Board {
    fn shown(&self) -> MutexGuard<'_, Shown> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_pipelines(&self, pipelines: Vec<PipelineShown>) {
        self.shown().pipelines = pipelines;
    }

    pub(crate) fn set_stages<'a>(&self, stages: impl IntoIterator<Item = &'a Stage>) {
        let views: Vec<StageView> = stages.into_iter().map(stage_view).collect();
        let mut shown = self.shown();
        shown.shadows.retain(|stage, _| {
            let mut has_shadow = views.iter().filter(|view| view.stage == *stage);
            has_shadow.any(|view| {
                view.candidate
                    .as_ref()
                    .is_some_and(|candidate| candidate.status == "shadow")
            })
        });
        shown.stages = views;
    }

    /// Sets the step of a swap that a stage is in now.
    pub(crate) fn set_doing(&self, stage: &str, doing: Option<&str>) {
        for view in &mut self.shown().stages {
            if view.stage == stage {
                view.swap = doing.map(str::to_owned);
            }
        }
    }

    pub(crate) fn set_shadow(&self, stage: &str, numbers: (u64, u64), seen: Comparison) {
        let shadow = (numbers.0, numbers.1, seen);
        self.shown().shadows.insert(stage.to_owned(), shadow);
    }

    /// Adds an event, and sets its sequence and time.
    pub(crate) fn add(&self, mut event: EventView) {
        let mut shown = self.shown();
        shown.sequence += 1;
        event.sequence = shown.sequence;
        event.at = rfc3339(SystemTime::now());
        if shown.events.len() >= EVENTS {
            shown.events.pop_front();
        }
        shown.events.push_back(event);
    }

    /// Counts the outcome of an attempt to change a stage.
    pub(crate) fn count(&self, stage: &str, outcome: &'static str) {
        let mut shown = self.shown();
        *shown.swaps.entry((stage.to_owned(), outcome)).or_default() += 1;
    }

    pub(crate) fn count_duration(&self, stage: &str, seconds: f64, pause_seconds: f64) {
        let mut shown = self.shown();
        let durations = shown.durations.entry(stage.to_owned()).or_default();
        durations.swaps += 1;
        durations.seconds += seconds;
        durations.longest_pause_seconds = durations.longest_pause_seconds.max(pause_seconds);
    }

    /// Returns the stage, outcome and count of all swaps, for the metrics.
    pub(crate) fn swaps(&self) -> Vec<(String, &'static str, u64)> {
        let shown = self.shown();
        let swaps = shown.swaps.iter();
        swaps
            .map(|((stage, outcome), count)| (stage.clone(), *outcome, *count))
            .collect()
    }

    /// Returns the durations of swaps by stage, for the metrics.
    pub(crate) fn durations(&self) -> Vec<(String, Durations)> {
        let shown = self.shown();
        let durations = shown.durations.iter();
        durations
            .map(|(stage, durations)| (stage.clone(), *durations))
            .collect()
    }
}

impl Views for Board {
    fn pipelines(&self) -> Vec<PipelineView> {
        let pipelines = self.shown().pipelines.clone();
        let pipelines = pipelines.into_iter();
        let with_ledger = |mut pipeline: PipelineShown| {
            pipeline.view.ledger = ledger_view(&pipeline.ledger.books());
            pipeline.view
        };
        pipelines.map(with_ledger).collect()
    }

    fn stages(&self) -> Vec<StageView> {
        let (mut stages, pipelines) = {
            let shown = self.shown();
            (shown.stages.clone(), shown.pipelines.clone())
        };
        for pipeline in pipelines {
            let books = pipeline.ledger.books();
            for stage in &mut stages {
                add_books(stage, &pipeline.view.name, &books);
            }
        }
        stages
    }

    fn history(&self, stage: Option<&str>, after: u64) -> Vec<EventView> {
        let shown = self.shown();
        // A client with a higher sequence than ours has it from another run of the collector.
        let after = if after > shown.sequence { 0 } else { after };
        let events = shown.events.iter().filter(|event| {
            event.sequence > after && stage.is_none_or(|stage| event.stage == stage)
        });
        events.cloned().collect()
    }

    fn quarantine(&self) -> Arc<Shelves> {
        Arc::clone(&self.shown().shelves)
    }

    fn shadow(&self, stage: &str) -> Option<ShadowView> {
        let shown = self.shown();
        let (running, shadow, seen) = shown.shadows.get(stage)?;
        Some(shadow_view(stage, *running, *shadow, seen))
    }
}

fn stage_view(stage: &Stage) -> StageView {
    let lineup = &stage.lineup;
    let status = match lineup.probation {
        Some(_) => "probation",
        None => "running",
    };
    let candidate = lineup.candidate.as_ref().map(|candidate| {
        let status = mode_label(candidate.mode);
        generation_view(&candidate.loaded, &status)
    });
    StageView {
        stage: stage.id.to_string(),
        running: generation_view(&lineup.running, status),
        previous: lineup
            .previous
            .as_ref()
            .map(|previous| generation_view(previous, "previous")),
        candidate,
        on_fault: stage.wasm.on_fault.label().to_owned(),
        bypass_fails_readiness: stage.wasm.bypass_fails_readiness,
        bypassing: stage.is_awaited(),
        expects_drops: lineup
            .probation
            .is_some_and(|probation| probation.watch == Watch::AllButDrops),
        undone: lineup.undone.as_ref().map(undone_view),
        drift: drift(stage),
        ..StageView::default()
    }
}

fn undone_view(undone: &Undone) -> UndoneView {
    UndoneView {
        event: undone.event.to_owned(),
        generation: undone.number,
        at: rfc3339(undone.at),
        why: undone.why.clone(),
    }
}

pub(crate) fn mode_label(mode: Mode) -> String {
    match mode {
        Mode::Canary(share) => format!("canary {}%", share.percent()),
        Mode::Shadow => "shadow".to_owned(),
    }
}

fn generation_view(loaded: &Loaded, status: &str) -> GenerationView {
    let manifest = loaded.generation.manifest();
    let identity = loaded.generation.identity();
    GenerationView {
        number: loaded.number(),
        plugin: manifest.name.clone(),
        version: manifest.version.clone(),
        module: loaded.source.name(),
        sha256: identity.module.to_string(),
        config_sha256: identity.config.to_string(),
        config: redacted(&loaded.config.value(), &loaded.hidden),
        loaded_at: rfc3339(loaded.loaded_at),
        status: status.to_owned(),
        state: loaded.state.clone(),
        figures: FiguresView {
            generation: loaded.number(),
            ..FiguresView::default()
        },
    }
}

/// Adds a pipeline's books of a stage to the view of the stage.
fn add_books(view: &mut StageView, pipeline: &str, books: &Books) {
    let Some(column) = books
        .stages
        .iter()
        .find(|column| column.name == view.stage && column.position.is_some())
    else {
        return;
    };
    view.pipelines.push(pipeline.to_owned());
    view.held += column.held;
    view.held_bytes += column.held_bytes;
    view.breakers_open += column.breakers_open;
    view.quarantined += column.quarantined;
    view.retried += column.retried;
    for (reason, items) in column.dropped() {
        *view.dropped.entry(reason.to_owned()).or_default() += items;
    }
    let running = column.generation(view.running.number);
    view.bypassing |= running.is_some_and(|running| running.bypass.is_on());
    let generations = [
        Some(&mut view.running),
        view.previous.as_mut(),
        view.candidate.as_mut(),
    ];
    for generation in generations.into_iter().flatten() {
        if let Some(figures) = column.generation(generation.number) {
            generation.figures = joined(&generation.figures, &figures_view(figures));
        }
    }
}

fn shadow_view(stage: &str, running: u64, shadow: u64, seen: &Comparison) -> ShadowView {
    let mut differences: Vec<_> = seen.differences.iter().collect();
    differences.sort_by(|(a, x), (b, y)| y.count.cmp(&x.count).then_with(|| a.cmp(b)));
    let differences = differences
        .into_iter()
        .take(DIFFERENCES)
        .map(|(kind, seen)| {
            let examples = seen.examples.iter();
            DifferenceView {
                service: kind.service.clone(),
                span: kind.span.clone(),
                running: said(&kind.running),
                shadow: said(&kind.shadow),
                count: seen.count,
                examples: examples
                    .map(|(trace, span)| (hex::encode(trace), hex::encode(span)))
                    .collect(),
            }
        });
    ShadowView {
        stage: stage.to_owned(),
        running,
        shadow,
        compared: seen.compared,
        different: seen.different,
        unsettled: seen.unsettled,
        faults: seen.faults,
        differences: differences.collect(),
    }
}

fn said(said: &Said) -> String {
    match said {
        Said::Keep => "keep".to_owned(),
        Said::KeepEdited => "keep, edited".to_owned(),
        Said::Drop(reason) => format!("drop: {reason}"),
    }
}
