//! The status: what everybody may read of the running collector at any moment. The one task that
//! changes the collector publishes it; readers do not wait for that task.

mod books;
mod history;
mod life;
mod shadow;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::{Mutex, MutexGuard};
use spandrel_journal::Store;
use spandrel_otlp::receiver::ReceiverStats;
use spandrel_pipeline::ingress::OfferCounters;
use spandrel_pipeline::ledger::{Books, Ledger};
use spandrel_pipeline::queue::QueueFill;
use spandrel_pipeline::stage::Comparison;
use spandrel_plugin::Metrics;
use tokio::sync::watch;
use tokio::time::Instant;

use self::books::{figures_view, joined, ledger_view};
use self::history::History;
pub use self::history::SwapDurations;
pub use self::life::{Life, Phase};
use self::shadow::shadow_view;
use crate::memory::LimiterStatus;
use crate::quarantine::Quarantine;
use crate::report::{EventView, PipelineView, ShadowView, StageView};

/// The parts that run now. A change replaces the snapshot as a whole.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// The receivers, by name.
    pub receivers: Vec<ReceiverStatus>,
    /// The pipelines, in the order of the configuration.
    pub pipelines: Vec<PipelineStatus>,
    /// The stages, in the order in which the pipelines name them. The counts of their pipelines are
    /// added when the status is read.
    pub stages: Vec<StageView>,
    /// The metrics of plugins, by stage.
    pub plugins: Vec<(String, Arc<Metrics>)>,
    /// The memory limiters that pipelines name.
    pub limiters: Vec<Arc<LimiterStatus>>,
}

/// One receiver.
#[derive(Clone, Debug)]
pub struct ReceiverStatus {
    /// Its name.
    pub receiver: String,
    /// `grpc` or `file`.
    pub transport: &'static str,
    /// The items that it offered to its pipelines.
    pub offered: Arc<OfferCounters>,
    /// The counters of requests, for a receiver that listens.
    pub stats: Option<Arc<ReceiverStats>>,
}

/// One pipeline.
#[derive(Clone)]
pub struct PipelineStatus {
    /// The parts of its view that stay the same between two changes.
    pub view: PipelineView,
    /// Its ledger.
    pub ledger: Arc<Ledger>,
    /// Reads the fill of its exporters' queues, in the order of the ledger's exporters.
    pub queues: Arc<dyn Fn() -> Vec<QueueFill> + Send + Sync>,
    /// Its journal, if it is durable.
    pub journal: Option<Arc<Store>>,
    /// Its quarantine, if it is durable.
    pub quarantine: Option<Quarantine>,
}

impl fmt::Debug for PipelineStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("PipelineStatus");
        debug.field("view", &self.view).finish_non_exhaustive()
    }
}

/// The status of the collector. It is alive from its creation, and ready only between
/// [`Status::ready`] and [`Status::stopping`].
#[derive(Debug)]
pub struct Status {
    started: Instant,
    ready_since: Mutex<Option<(SystemTime, Instant)>>,
    life: watch::Sender<Life>,
    current: Mutex<PublishedStatus>,
}

#[derive(Debug, Default)]
struct PublishedStatus {
    snapshot: Arc<Snapshot>,
    /// The steps that swaps are in, by stage.
    swaps: BTreeMap<String, String>,
    /// For each stage with a shadow: the numbers of both generations, and their comparison.
    shadows: BTreeMap<String, (u64, u64, Comparison)>,
    history: History,
}

impl Default for Status {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            ready_since: Mutex::default(),
            life: watch::Sender::default(),
            current: Mutex::default(),
        }
    }
}

impl Status {
    fn current(&self) -> MutexGuard<'_, PublishedStatus> {
        self.current.lock()
    }

    /// Publishes what runs now.
    pub fn publish(&self, snapshot: Snapshot) {
        let mut current = self.current();
        current.shadows.retain(|stage, _| {
            let mut stages = snapshot.stages.iter().filter(|view| view.stage == *stage);
            stages.any(|view| {
                let candidate = view.candidate.as_ref();
                candidate.is_some_and(|candidate| candidate.status == "shadow")
            })
        });
        current.swaps.clear();
        current.snapshot = Arc::new(snapshot);
    }

    /// Notes that everything is up.
    pub fn ready(&self) {
        *self.ready_since_mut() = Some((SystemTime::now(), Instant::now()));
        self.life.send_modify(|life| life.phase = Phase::Running);
    }

    /// Notes that the drain has begun, which takes `limit` at most.
    pub fn stopping(&self, limit: Duration) {
        *self.ready_since_mut() = None;
        let phase = Phase::Stopping { limit };
        self.life.send_modify(|life| life.phase = phase);
    }

    /// Notes that a reload has begun.
    pub fn reload_began(&self) {
        self.life.send_modify(|life| {
            life.reloads = life.reloads.wrapping_add(1);
            life.reloading = true;
        });
    }

    /// Notes the end of a reload.
    pub fn reload_ended(&self, is_refused: bool) {
        self.life.send_modify(|life| {
            life.reloading = false;
            life.reload_refused = is_refused;
        });
    }

    /// Returns the life of the collector, to be followed.
    pub fn life(&self) -> watch::Receiver<Life> {
        self.life.subscribe()
    }

    /// Returns the moment at which everything was up; `None` before that, and once the drain has
    /// begun.
    pub fn ready_since(&self) -> Option<(SystemTime, Instant)> {
        *self.ready_since_mut()
    }

    fn ready_since_mut(&self) -> MutexGuard<'_, Option<(SystemTime, Instant)>> {
        self.ready_since.lock()
    }

    /// Returns the moment at which the collector began to start.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// Returns what runs now.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.current().snapshot)
    }

    /// Sets the step of a swap that a stage is in now.
    pub(crate) fn set_swap(&self, stage: &str, step: Option<&str>) {
        let mut current = self.current();
        match step {
            Some(step) => current.swaps.insert(stage.to_owned(), step.to_owned()),
            None => current.swaps.remove(stage),
        };
    }

    /// Sets what the shadow of a stage has shown. `numbers` are those of the running generation and
    /// of the shadow.
    pub fn set_shadow(&self, stage: &str, numbers: (u64, u64), seen: Comparison) {
        let shadow = (numbers.0, numbers.1, seen);
        self.current().shadows.insert(stage.to_owned(), shadow);
    }

    /// Adds an event to the history, and sets its sequence and time.
    pub fn add(&self, event: EventView) {
        self.current().history.add(event);
    }

    /// Counts the outcome of an attempt to change a stage.
    pub(crate) fn count(&self, stage: &str, outcome: &'static str) {
        self.current().history.count(stage, outcome);
    }

    /// Adds the durations of one swap, in seconds.
    pub(crate) fn count_duration(&self, stage: &str, seconds: f64, pause_seconds: f64) {
        let mut current = self.current();
        current
            .history
            .count_duration(stage, seconds, pause_seconds);
    }

    /// Returns the stage, outcome and count of all swaps.
    pub fn swaps(&self) -> Vec<(String, &'static str, u64)> {
        self.current().history.swaps()
    }

    /// Returns the durations of swaps by stage.
    pub fn swap_durations(&self) -> Vec<(String, SwapDurations)> {
        self.current().history.durations()
    }

    /// Returns the pipelines, with their ledgers as they are now.
    pub fn pipelines(&self) -> Vec<PipelineView> {
        let snapshot = self.snapshot();
        let with_ledger = |pipeline: &PipelineStatus| PipelineView {
            ledger: ledger_view(&pipeline.ledger.books()),
            ..pipeline.view.clone()
        };
        snapshot.pipelines.iter().map(with_ledger).collect()
    }

    /// Returns the stages, with what their pipelines have counted by now.
    pub fn stages(&self) -> Vec<StageView> {
        let (mut stages, snapshot) = {
            let current = self.current();
            let mut stages = current.snapshot.stages.clone();
            for view in &mut stages {
                view.swap = current.swaps.get(&view.stage).cloned();
            }
            (stages, Arc::clone(&current.snapshot))
        };
        for pipeline in &snapshot.pipelines {
            let books = pipeline.ledger.books();
            for stage in &mut stages {
                add_books(stage, &pipeline.view.name, &books);
            }
        }
        stages
    }

    /// Returns the events of one stage, or of all, with a higher sequence than `after`.
    pub fn history(&self, stage: Option<&str>, after: u64) -> Vec<EventView> {
        self.current().history.since(stage, after)
    }

    /// Returns the report of a stage's shadow. `None` if the stage has no shadow.
    pub fn shadow(&self, stage: &str) -> Option<ShadowView> {
        let current = self.current();
        let (running, shadow, seen) = current.shadows.get(stage)?;
        Some(shadow_view(stage, *running, *shadow, seen))
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
