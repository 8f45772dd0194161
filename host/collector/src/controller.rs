//! The one task that changes the running collector. It takes one command after the other and
//! watches what it has published.

mod probation;
mod reload;
mod swap;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::Duration;

use futures_util::future::BoxFuture;
use spandrel_config::id::Id;
use spandrel_config::source::Sources;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use crate::control::{Command, Commands};
use crate::controller::reload::{NewGenerations, PendingReload};
use crate::refusal::Refusal;
use crate::report::{EventView, ReloadReport, SwapReport, SwapRequest};
use crate::stage::load::{ProbedPlugin, StageLoadError};
use crate::stage::rollout::{READ_EVERY, Stage};
use crate::state::CollectorState;
use crate::trigger::Trigger;
use crate::watch::Watcher;

/// The means to read the configuration again while the collector runs.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The sources of the configuration.
    pub sources: Sources,
    /// Changes with each SIGHUP.
    pub hang_ups: watch::Receiver<u32>,
}

/// The one task that changes the running collector.
pub(crate) struct Controller {
    pub(crate) state: CollectorState,
    commands: mpsc::Receiver<Command>,
    /// Commands that do not wait for a build.
    urgent: mpsc::Receiver<Command>,
    pub(crate) origin: Option<Origin>,
    pub(crate) watch: Option<(Watcher, mpsc::Receiver<PathBuf>)>,
    /// Stages whose file has changed.
    pub(crate) waiting: VecDeque<Id>,
    /// Modules of a configuration that was refused. If one of them changes, the configuration may
    /// be good.
    pub(crate) missing: Vec<PathBuf>,
    /// Changes that failed for want of room, and the times of the next attempts.
    later: Vec<(Instant, Retry)>,
    reload_is_due: bool,
    /// The time of the next reading of figures.
    pub(crate) read_at: Instant,
    /// The build that is under way. The next command waits for it; what is published is watched
    /// meanwhile.
    building: Option<PendingBuild>,
    next_evaluation: Instant,
}

/// A build beside what runs, and the reply channel of its command.
pub(crate) enum PendingBuild {
    Swap {
        asked: Box<PendingSwap>,
        built: BoxFuture<'static, Result<ProbedPlugin, StageLoadError>>,
    },
    Reload {
        reloading: Box<PendingReload>,
        reply: Option<oneshot::Sender<Result<ReloadReport, Refusal>>>,
        built: BoxFuture<'static, Result<NewGenerations, Refusal>>,
    },
}

/// A swap on its way.
pub(crate) struct PendingSwap {
    pub(crate) stage: Id,
    pub(crate) number: u64,
    pub(crate) request: SwapRequest,
    pub(crate) by: Trigger,
    pub(crate) started: Instant,
    pub(crate) reply: Option<oneshot::Sender<Result<SwapReport, Refusal>>>,
}

/// A change that is tried again automatically, because its file changed only once and nobody would
/// ask again.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Retry {
    Stage(Id),
    Configuration,
}

/// The subject of a turn.
enum Event {
    Command(Option<Command>),
    Changed(PathBuf),
    Waiting(Id),
    HangUp,
    ProbedPlugin(Box<FinishedBuild>),
    Evaluate,
}

enum FinishedBuild {
    Swap(Box<PendingSwap>, Box<Result<ProbedPlugin, StageLoadError>>),
    Reload(
        Box<PendingReload>,
        Option<oneshot::Sender<Result<ReloadReport, Refusal>>>,
        Result<NewGenerations, Refusal>,
    ),
}

impl Controller {
    pub(crate) fn new(
        state: CollectorState,
        (commands, urgent): Commands,
        origin: Option<Origin>,
    ) -> Self {
        let mut controller = Self {
            state,
            commands,
            urgent,
            origin,
            watch: None,
            waiting: VecDeque::new(),
            missing: Vec::new(),
            later: Vec::new(),
            reload_is_due: false,
            read_at: Instant::now(),
            building: None,
            next_evaluation: Instant::now(),
        };
        if controller.state.config.service.watch {
            controller.watch = Some(Watcher::start(controller.files()));
        }
        let board = &controller.state.status;
        for stage in controller.state.stages.values() {
            board.add(EventView {
                stage: stage.id.to_string(),
                generation: stage.rollout.running.number(),
                sha256: stage.rollout.running.sha256(),
                event: match stage.is_missing() {
                    true => "awaited".to_owned(),
                    false => "loaded".to_owned(),
                },
                by: "start".to_owned(),
                ..EventView::default()
            });
        }
        let ids: Vec<Id> = controller.state.stages.keys().cloned().collect();
        for id in ids {
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
                Event::Changed(path) => self.file_changed(&path).await,
                Event::Waiting(stage) => {
                    let request = SwapRequest::default();
                    let known = self.state.stages.get(&stage);
                    let by = match known.is_some_and(Stage::is_missing) {
                        true => Trigger::Source,
                        false => Trigger::File,
                    };
                    self.begin_swap(stage.as_str(), request, None, by, None)
                        .await;
                }
                Event::HangUp => {
                    self.state.exporters.reopen().await;
                    self.begin_reload(Trigger::Reload, None).await;
                }
                Event::ProbedPlugin(done) => match *done {
                    FinishedBuild::Swap(asked, built) => self.finish_swap(*asked, *built).await,
                    FinishedBuild::Reload(reloading, reply, renewed) => {
                        self.finish_reload(*reloading, reply, renewed).await;
                    }
                },
                Event::Evaluate => self.evaluate().await,
            }
        }
    }

    async fn next(&mut self) -> Event {
        let is_free = self.building.is_none();
        if is_free && let Some(stage) = self.waiting.pop_front() {
            return Event::Waiting(stage);
        }
        if is_free && std::mem::take(&mut self.reload_is_due) {
            return Event::HangUp;
        }
        let has_stages = self.has_stages();
        let Self {
            commands,
            urgent,
            origin,
            watch,
            building,
            next_evaluation,
            ..
        } = self;
        let changed = async {
            match watch {
                Some((_, changes)) => changes.recv().await,
                None => None,
            }
        };
        let hung_up = async {
            match origin {
                Some(origin) => origin.hang_ups.changed().await.is_ok(),
                None => false,
            }
        };
        tokio::select! {
            done = done(building), if !is_free => Event::ProbedPlugin(Box::new(done)),
            () = tokio::time::sleep_until(*next_evaluation), if has_stages => Event::Evaluate,
            command = urgent.recv() => Event::Command(command),
            command = commands.recv(), if is_free => Event::Command(command),
            Some(path) = changed, if is_free => Event::Changed(path),
            true = hung_up, if is_free => Event::HangUp,
            // A branch that has ended for good (no watcher, no signals) must not end the wait of
            // the others.
            else => std::future::pending().await,
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
                self.begin_swap(&stage, request, upload, by, Some(reply))
                    .await
            }
            Command::Rollback { stage, reply } => {
                let done = self.rollback(&stage).await;
                answer(reply, done);
            }
            Command::Promote {
                stage,
                watch,
                reply,
            } => {
                let done = self.promote(&stage, watch).await;
                answer(reply, done);
            }
            Command::Cancel { stage, reply } => {
                let done = self.cancel(&stage).await;
                answer(reply, done);
            }
            Command::Reload { by, reply } => self.begin_reload(by, Some(reply)).await,
        }
    }

    /// Returns the stage of this name.
    pub(crate) fn find(&self, name: &str) -> Result<Id, Refusal> {
        let ids = || self.state.stages.keys();
        if let Some(id) = ids().find(|id| id.as_str() == name) {
            return Ok(id.clone());
        }
        let known: Vec<&str> = ids().map(Id::as_str).collect();
        Err(Refusal::NotFound(match known.as_slice() {
            [] => format!("there is no stage `{name}`: this collector has none"),
            known => format!("there is no stage `{name}`: there are {}", known.join(", ")),
        }))
    }

    pub(crate) fn begin_building(&mut self, building: PendingBuild) {
        self.building = Some(building);
    }

    /// Schedules another attempt.
    pub(crate) fn retry_later(&mut self, again: Retry, after: Duration) {
        if !self.later.iter().any(|(_, waits)| *waits == again) {
            let at = Instant::now() + after;
            self.later.push((at, again));
            self.next_evaluation = self.next_evaluation.min(at);
        }
    }

    /// Schedules another request for the plugin of a stage, if the stage still has none.
    pub(crate) fn retry_missing(&mut self, id: &Id) {
        let stage = self
            .state
            .stages
            .get_mut(id)
            .filter(|stage| stage.is_missing());
        if let Some(wait) = stage.map(Stage::next_wait) {
            self.retry_later(Retry::Stage(id.clone()), wait);
        }
    }

    /// Takes up the changes that have waited long enough.
    pub(crate) fn take_due_retries(&mut self) {
        let now = Instant::now();
        for (_, again) in self.later.extract_if(.., |(at, _)| *at <= now) {
            match again {
                Retry::Stage(stage) => self.waiting.push_back(stage),
                Retry::Configuration => self.reload_is_due = true,
            }
        }
    }

    /// Returns the time of the next scheduled change, or a time far away if there is none.
    pub(crate) fn next_retry(&self) -> Instant {
        let all = self.later.iter().map(|(at, _)| *at);
        all.min().unwrap_or_else(|| Instant::now() + READ_EVERY)
    }

    pub(crate) fn evaluate_at(&mut self, at: Instant) {
        self.next_evaluation = at;
    }

    pub(crate) fn evaluate_soon(&mut self) {
        self.next_evaluation = Instant::now();
    }
}

/// Sends an answer. The client may be gone.
pub(crate) fn answer<T>(reply: oneshot::Sender<Result<T, Refusal>>, done: Result<T, Refusal>) {
    drop(reply.send(done));
}

/// Resolves when the build is done.
async fn done(building: &mut Option<PendingBuild>) -> FinishedBuild {
    match building {
        None => std::future::pending::<()>().await,
        Some(PendingBuild::Swap { built, .. }) => {
            let built = built.await;
            if let Some(PendingBuild::Swap { asked, .. }) = building.take() {
                return FinishedBuild::Swap(asked, Box::new(built));
            }
        }
        Some(PendingBuild::Reload { built, .. }) => {
            let built = built.await;
            if let Some(PendingBuild::Reload {
                reloading, reply, ..
            }) = building.take()
            {
                return FinishedBuild::Reload(reloading, reply, built);
            }
        }
    }
    std::future::pending().await
}
