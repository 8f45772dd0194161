//! The one task that changes the running collector. It takes one command after the other and
//! evaluates what it has published.
//!
//! A swap is decided here: [`Controller::begin_swap`] plans the generation, a future beside the
//! pipelines builds it, and [`Controller::finish_swap`] publishes it. A reload goes the same way.

mod evaluation;
mod reload;
mod request;
mod retries;
mod stage_change;
mod swap;
mod watched_files;

use std::path::Path;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use spandrel_config::id::Id;
use tokio::sync::mpsc;
use tracing::info;

use self::evaluation::{Evaluation, RETRY_AFTER};
use self::reload::{NewGeneration, PendingReload, ReloadOrder};
use self::retries::{Retries, Retry};
use self::stage_change::StageChange;
use self::swap::{PendingSwap, SwapOrder};
pub use self::watched_files::Origin;
use self::watched_files::{FileEvent, WatchedFiles};
use crate::control::{Command, Commands, Reply};
use crate::refusal::Refusal;
use crate::report::{EventView, SwapReport, SwapRequest};
use crate::stage::drift_report::report_drift;
use crate::stage::load::{ProbedPlugin, StageLoadError};
use crate::stage::{Stage, Watch};
use crate::state::CollectorState;
use crate::trigger::Trigger;

/// The one task that changes the running collector.
pub(crate) struct Controller {
    state: CollectorState,
    commands: mpsc::Receiver<Command>,
    /// Commands that do not wait for a build.
    urgent: mpsc::Receiver<Command>,
    files: WatchedFiles,
    retries: Retries,
    evaluation: Evaluation,
    /// The build that is under way. The next command waits for it; what is published is evaluated
    /// meanwhile.
    building: Option<BoxFuture<'static, FinishedBuild>>,
}

/// A change whose parts were built beside what runs, and the parts.
enum FinishedBuild {
    Swap(Box<PendingSwap>, Box<Result<ProbedPlugin, StageLoadError>>),
    Reload(
        ReloadOrder,
        Box<PendingReload>,
        Result<Vec<NewGeneration>, Refusal>,
    ),
}

/// The subject of a turn.
enum Event {
    Command(Option<Command>),
    File(FileEvent),
    Retry,
    Built(FinishedBuild),
    Evaluation,
}

impl Controller {
    pub(crate) fn new(
        state: CollectorState,
        (commands, urgent): Commands,
        origin: Option<Origin>,
    ) -> Self {
        let mut controller = Self {
            files: WatchedFiles::new(origin, &state),
            state,
            commands,
            urgent,
            retries: Retries::default(),
            evaluation: Evaluation::new(),
            building: None,
        };
        for stage in controller.state.stages().iter() {
            controller.state.status().add(EventView {
                stage: stage.id().to_string(),
                generation: stage.running().number(),
                sha256: stage.running().sha256(),
                event: match stage.is_missing() {
                    true => "awaited".to_owned(),
                    false => "loaded".to_owned(),
                },
                by: "start".to_owned(),
                ..EventView::default()
            });
        }
        for id in controller.state.stages().ids() {
            controller.retry_missing(&id);
        }
        controller
    }

    /// Ends the task and returns everything that runs, to be drained. A build that is under way is
    /// given up.
    pub(crate) fn end(self) -> CollectorState {
        self.state
    }

    /// Takes one turn after the other. May be dropped at any await: what runs is complete then.
    pub(crate) async fn run(&mut self) {
        loop {
            match self.next().await {
                Event::Command(Some(command)) => self.begin(command).await,
                // All senders are gone, so no command can come any more.
                Event::Command(None) => std::future::pending().await,
                Event::File(FileEvent::Changed(path)) => self.file_changed(&path).await,
                Event::File(FileEvent::HangUp) => {
                    self.state.exporters().reopen().await;
                    self.begin_reload(ReloadOrder::automatic()).await;
                }
                Event::Retry => self.retry().await,
                Event::Built(FinishedBuild::Swap(swap, built)) => {
                    self.finish_swap(*swap, *built).await;
                }
                Event::Built(FinishedBuild::Reload(order, reload, built)) => {
                    self.finish_reload(order, *reload, built).await;
                }
                Event::Evaluation => self.evaluation.run(&mut self.state).await,
            }
        }
    }

    async fn next(&mut self) -> Event {
        let is_free = self.building.is_none();
        if is_free && self.retries.is_due() {
            return Event::Retry;
        }
        let has_stages = !self.state.stages().is_empty();
        tokio::select! {
            built = finished(&mut self.building) => Event::Built(built),
            () = self.evaluation.wait(), if has_stages => Event::Evaluation,
            command = self.urgent.recv() => Event::Command(command),
            command = self.commands.recv(), if is_free => Event::Command(command),
            event = self.files.next(), if is_free => Event::File(event),
            () = self.retries.wait(), if is_free => Event::Retry,
        }
    }

    async fn begin(&mut self, command: Command) {
        match command {
            Command::Swap {
                stage,
                request,
                upload,
                by,
                reply,
            } => {
                self.begin_swap(SwapOrder {
                    stage,
                    request,
                    upload,
                    by,
                    reply: Some(reply),
                })
                .await;
            }
            Command::Rollback { stage, reply } => answer(reply, self.roll_back(&stage).await),
            Command::Promote {
                stage,
                watch,
                reply,
            } => answer(reply, self.promote(&stage, watch).await),
            Command::Cancel { stage, reply } => answer(reply, self.cancel(&stage).await),
            Command::Reload { by, reply } => {
                let reply = Some(reply);
                self.begin_reload(ReloadOrder { by, reply }).await;
            }
        }
    }

    /// Brings back the previous generation of a stage.
    async fn roll_back(&mut self, stage: &str) -> Result<SwapReport, Refusal> {
        let id = self.state.stages().find(stage)?;
        let change = StageChange::new(&mut self.state, &id, Trigger::Admin);
        change.roll_back("asked for").await
    }

    /// Publishes the candidate of a stage.
    async fn promote(&mut self, stage: &str, watch: Watch) -> Result<SwapReport, Refusal> {
        let id = self.state.stages().find(stage)?;
        let change = StageChange::new(&mut self.state, &id, Trigger::Admin);
        let report = change.promote(watch).await;
        self.evaluation.set_due();
        report
    }

    /// Ends the candidate of a stage.
    async fn cancel(&mut self, stage: &str) -> Result<SwapReport, Refusal> {
        let id = self.state.stages().find(stage)?;
        let change = StageChange::new(&mut self.state, &id, Trigger::Admin);
        change.cancel("asked for").await
    }

    /// Begins to build the generation that an order asks for.
    async fn begin_swap(&mut self, order: SwapOrder) {
        if let Some((swap, plan)) = PendingSwap::plan(order, &mut self.state).await {
            let building = async move {
                let built = plan.build().await;
                FinishedBuild::Swap(Box::new(swap), Box::new(built))
            };
            self.building = Some(building.boxed());
        }
    }

    /// Publishes what was built, or reports why not.
    async fn finish_swap(
        &mut self,
        swap: PendingSwap,
        built: Result<ProbedPlugin, StageLoadError>,
    ) {
        match swap.apply(&mut self.state, built).await {
            Ok(report) => {
                self.evaluation.set_due();
                swap.succeed(report);
            }
            Err(refusal) => {
                if swap.by() == Trigger::File && matches!(refusal, Refusal::Conflict(_)) {
                    let retry = Retry::Stage(swap.stage().clone());
                    self.retries.schedule(retry, RETRY_AFTER);
                } else if swap.by() == Trigger::Source {
                    self.retry_missing(swap.stage());
                }
                swap.refuse(&self.state, refusal);
            }
        }
    }

    /// Reads the configuration again, and begins to build what differs.
    async fn begin_reload(&mut self, order: ReloadOrder) {
        self.state.status().reload_began();
        let planned = match self.files.sources() {
            Some(sources) => PendingReload::plan(&mut self.state, sources).await,
            None => {
                let why = "this collector does not know where its configuration came from";
                Err(Refusal::Bad(why.to_owned()))
            }
        };
        match planned {
            Ok(mut reload) => {
                let building = async move {
                    let built = reload.build().await;
                    FinishedBuild::Reload(order, Box::new(reload), built)
                };
                self.building = Some(building.boxed());
            }
            Err(refusal) => self.refuse_reload(order, refusal),
        }
    }

    /// Brings the configuration into force, or reports why not.
    async fn finish_reload(
        &mut self,
        order: ReloadOrder,
        reload: PendingReload,
        built: Result<Vec<NewGeneration>, Refusal>,
    ) {
        let modules = reload.modules().to_vec();
        let done = match built {
            Ok(built) => reload.apply(&mut self.state, order.by, built).await,
            Err(refusal) => Err(refusal),
        };
        match done {
            Ok(mut report) => {
                self.state.stages_mut().read_modules().await;
                self.state.show();
                report.left = report_drift(self.state.stages());
                self.evaluation.set_due();
                self.files.set(&self.state, Vec::new());
                self.state.status().reload_ended(false);
                order.succeed(report);
            }
            Err(refusal) => {
                // A module may have been half written, or come later than the configuration.
                self.files.set(&self.state, modules);
                self.refuse_reload(order, refusal);
            }
        }
    }

    fn refuse_reload(&mut self, order: ReloadOrder, refusal: Refusal) {
        // A file that was being written is complete in a moment.
        if order.is_automatic() && matches!(refusal, Refusal::Conflict(_)) {
            self.retries.schedule(Retry::Configuration, RETRY_AFTER);
        }
        order.refuse(&self.state, refusal);
    }

    async fn file_changed(&mut self, path: &Path) {
        if self.files.is_source(path) {
            info!(path = %path.display(), "configuration changed, reloading");
            return self.begin_reload(ReloadOrder::automatic()).await;
        }
        if self.files.is_of_refused(path) {
            info!(path = %path.display(), "a plugin of the configuration changed, reloading");
            self.begin_reload(ReloadOrder::automatic()).await;
        }
        let stages = self.state.stages().iter();
        for stage in stages.filter(|stage| stage.wasm().module.has_file(path)) {
            info!(stage = %stage.id(), path = %path.display(), "plugin changed");
            let retry = Retry::Stage(stage.id().clone());
            self.retries.schedule(retry, Duration::ZERO);
        }
    }

    /// Begins a scheduled change.
    async fn retry(&mut self) {
        match self.retries.take_due() {
            None => {}
            Some(Retry::Configuration) => self.begin_reload(ReloadOrder::automatic()).await,
            Some(Retry::Stage(id)) => {
                let stage = self.state.stages().get(&id);
                self.begin_swap(SwapOrder {
                    stage: id.to_string(),
                    request: SwapRequest::default(),
                    upload: None,
                    by: match stage.is_some_and(Stage::is_missing) {
                        true => Trigger::Source,
                        false => Trigger::File,
                    },
                    reply: None,
                })
                .await;
            }
        }
    }

    /// Schedules another request for the plugin of a stage, if the stage still has none.
    fn retry_missing(&mut self, id: &Id) {
        let stage = self.state.stages_mut().get_mut(id);
        if let Some(stage) = stage.filter(|stage| stage.is_missing()) {
            let wait = stage.next_wait();
            self.retries.schedule(Retry::Stage(id.clone()), wait);
        }
    }
}

/// Sends an answer. The client may be gone.
fn answer<T>(reply: Reply<T>, done: Result<T, Refusal>) {
    drop(reply.send(done));
}

/// Resolves when the build is done. Never resolves if nothing is being built.
async fn finished(building: &mut Option<BoxFuture<'static, FinishedBuild>>) -> FinishedBuild {
    let Some(future) = building else {
        return std::future::pending().await;
    };
    let finished = future.await;
    *building = None;
    finished
}
