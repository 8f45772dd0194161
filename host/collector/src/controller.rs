//! The one task that changes the running collector. It takes one command after the other and
//! watches what it has published.

mod looking;
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
use crate::controller::reload::{Reloading, Renewed};
use crate::live::Live;
use crate::refusal::Refusal;
use crate::report::{EventView, ReloadReport, SwapReport, SwapRequest};
use crate::stage::build::{BuildError, Built};
use crate::stage::lineup::{READ_EVERY, Stage};
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
    pub(crate) live: Live,
    commands: mpsc::Receiver<Command>,
    /// Commands that do not wait for a build.
    urgent: mpsc::Receiver<Command>,
    pub(crate) origin: Option<Origin>,
    pub(crate) watch: Option<(Watcher, mpsc::Receiver<PathBuf>)>,
    /// Stages whose file has changed.
    pub(crate) waiting: VecDeque<Id>,
    /// Modules of a configuration that was refused. If one of them changes, the configuration may
    /// be good.
    pub(crate) awaited: Vec<PathBuf>,
    /// Changes that failed for want of room, and the times of the next attempts.
    later: Vec<(Instant, Again)>,
    reload_waits: bool,
    /// The time of the next reading of figures.
    pub(crate) read_at: Instant,
    /// The build that is under way. The next command waits for it; what is published is watched
    /// meanwhile.
    building: Option<Building>,
    next_look: Instant,
}

/// A build beside what runs, and the reply channel of its command.
pub(crate) enum Building {
    Swap {
        asked: Box<Asked>,
        built: BoxFuture<'static, Result<Built, BuildError>>,
    },
    Reload {
        reloading: Box<Reloading>,
        reply: Option<oneshot::Sender<Result<ReloadReport, Refusal>>>,
        built: BoxFuture<'static, Result<Renewed, Refusal>>,
    },
}

/// A swap on its way.
pub(crate) struct Asked {
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
pub(crate) enum Again {
    Stage(Id),
    Configuration,
}

/// The subject of a turn.
enum Turn {
    Command(Option<Command>),
    Changed(PathBuf),
    Waiting(Id),
    HangUp,
    Built(Box<Done>),
    Look,
}

enum Done {
    Swap(Box<Asked>, Box<Result<Built, BuildError>>),
    Reload(
        Box<Reloading>,
        Option<oneshot::Sender<Result<ReloadReport, Refusal>>>,
        Result<Renewed, Refusal>,
    ),
}

impl Controller {
    pub(crate) fn new(live: Live, (commands, urgent): Commands, origin: Option<Origin>) -> Self {
        let mut controller = Self {
            live,
            commands,
            urgent,
            origin,
            watch: None,
            waiting: VecDeque::new(),
            awaited: Vec::new(),
            later: Vec::new(),
            reload_waits: false,
            read_at: Instant::now(),
            building: None,
            next_look: Instant::now(),
        };
        if controller.live.config.service.watch {
            controller.watch = Some(Watcher::start(controller.files()));
        }
        let board = &controller.live.status;
        for stage in controller.live.stages.values() {
            board.add(EventView {
                stage: stage.id.to_string(),
                generation: stage.lineup.running.number(),
                sha256: stage.lineup.running.sha256(),
                event: match stage.is_awaited() {
                    true => "awaited".to_owned(),
                    false => "loaded".to_owned(),
                },
                by: "start".to_owned(),
                ..EventView::default()
            });
        }
        let ids: Vec<Id> = controller.live.stages.keys().cloned().collect();
        for id in ids {
            controller.await_again(&id);
        }
        controller
    }

    /// Ends the task and returns everything that runs, to be drained. A build that is under way is
    /// given up.
    pub(crate) fn end(self) -> Live {
        self.live
    }

    /// Takes one turn after the other. May be dropped at any await: what runs is complete then.
    pub(crate) async fn run(&mut self) {
        loop {
            match self.next().await {
                Turn::Command(Some(command)) => self.begin(command).await,
                // All senders are gone, so no command can come any more.
                Turn::Command(None) => std::future::pending().await,
                Turn::Changed(path) => self.file_changed(&path).await,
                Turn::Waiting(stage) => {
                    let request = SwapRequest::default();
                    let known = self.live.stages.get(&stage);
                    let by = match known.is_some_and(Stage::is_awaited) {
                        true => Trigger::Source,
                        false => Trigger::File,
                    };
                    self.begin_swap(stage.as_str(), request, None, by, None)
                        .await;
                }
                Turn::HangUp => {
                    self.live.exporters.reopen().await;
                    self.begin_reload(Trigger::Reload, None).await;
                }
                Turn::Built(done) => match *done {
                    Done::Swap(asked, built) => self.finish_swap(*asked, *built).await,
                    Done::Reload(reloading, reply, renewed) => {
                        self.finish_reload(*reloading, reply, renewed).await;
                    }
                },
                Turn::Look => self.look().await,
            }
        }
    }

    async fn next(&mut self) -> Turn {
        let is_free = self.building.is_none();
        if is_free && let Some(stage) = self.waiting.pop_front() {
            return Turn::Waiting(stage);
        }
        if is_free && std::mem::take(&mut self.reload_waits) {
            return Turn::HangUp;
        }
        let looks = self.looks();
        let Self {
            commands,
            urgent,
            origin,
            watch,
            building,
            next_look,
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
            done = done(building), if !is_free => Turn::Built(Box::new(done)),
            () = tokio::time::sleep_until(*next_look), if looks => Turn::Look,
            command = urgent.recv() => Turn::Command(command),
            command = commands.recv(), if is_free => Turn::Command(command),
            Some(path) = changed, if is_free => Turn::Changed(path),
            true = hung_up, if is_free => Turn::HangUp,
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
        let ids = || self.live.stages.keys();
        if let Some(id) = ids().find(|id| id.as_str() == name) {
            return Ok(id.clone());
        }
        let known: Vec<&str> = ids().map(Id::as_str).collect();
        Err(Refusal::NotFound(match known.as_slice() {
            [] => format!("there is no stage `{name}`: this collector has none"),
            known => format!("there is no stage `{name}`: there are {}", known.join(", ")),
        }))
    }

    pub(crate) fn begin_building(&mut self, building: Building) {
        self.building = Some(building);
    }

    /// Schedules another attempt.
    pub(crate) fn again_later(&mut self, again: Again, after: Duration) {
        if !self.later.iter().any(|(_, waits)| *waits == again) {
            let at = Instant::now() + after;
            self.later.push((at, again));
            self.next_look = self.next_look.min(at);
        }
    }

    /// Schedules another request for the plugin of a stage, if the stage still has none.
    pub(crate) fn await_again(&mut self, id: &Id) {
        let stage = self
            .live
            .stages
            .get_mut(id)
            .filter(|stage| stage.is_awaited());
        if let Some(wait) = stage.map(Stage::missed_again) {
            self.again_later(Again::Stage(id.clone()), wait);
        }
    }

    /// Takes up the changes that have waited long enough.
    pub(crate) fn take_up_again(&mut self) {
        let now = Instant::now();
        for (_, again) in self.later.extract_if(.., |(at, _)| *at <= now) {
            match again {
                Again::Stage(stage) => self.waiting.push_back(stage),
                Again::Configuration => self.reload_waits = true,
            }
        }
    }

    /// Returns the time of the next scheduled change, or a time far away if there is none.
    pub(crate) fn next_again(&self) -> Instant {
        let all = self.later.iter().map(|(at, _)| *at);
        all.min().unwrap_or_else(|| Instant::now() + READ_EVERY)
    }

    pub(crate) fn look_at(&mut self, at: Instant) {
        self.next_look = at;
    }

    pub(crate) fn look_soon(&mut self) {
        self.next_look = Instant::now();
    }
}

/// Sends an answer. The client may be gone.
pub(crate) fn answer<T>(reply: oneshot::Sender<Result<T, Refusal>>, done: Result<T, Refusal>) {
    drop(reply.send(done));
}

/// Resolves when the build is done.
async fn done(building: &mut Option<Building>) -> Done {
    match building {
        None => std::future::pending::<()>().await,
        Some(Building::Swap { built, .. }) => {
            let built = built.await;
            if let Some(Building::Swap { asked, .. }) = building.take() {
                return Done::Swap(asked, Box::new(built));
            }
        }
        Some(Building::Reload { built, .. }) => {
            let built = built.await;
            if let Some(Building::Reload {
                reloading, reply, ..
            }) = building.take()
            {
                return Done::Reload(reloading, reply, built);
            }
        }
    }
    std::future::pending().await
}
