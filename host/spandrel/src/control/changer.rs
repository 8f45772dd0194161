//! The one task that changes the running collector: one command after the other, while it watches
//! what it has published.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use futures_util::future::BoxFuture;
use spandrel_plugin::artifact::Digest;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tracing::{info, warn};

use super::api::{EventView, ReloadReport, SwapReport, SwapRequest};
use super::build::{BuildError, Built};
use super::lineup::ModuleSource;
use super::reload::{Reloading, Renewed};
use super::{By, Command, Refusal};
use crate::app::Origin;
use crate::app::live::Live;
use crate::config::id::Id;
use crate::watch::Watcher;

/// See the module.
pub(crate) struct Changer {
    pub(super) live: Live,
    commands: mpsc::Receiver<Command>,
    origin: Option<Origin>,
    watch: Option<(Watcher, mpsc::Receiver<PathBuf>)>,
    /// Stages whose file has changed.
    waiting: VecDeque<Id>,
    /// Modules of a configuration that was refused: when one changes, it may be good.
    awaited: Vec<PathBuf>,
    /// What is being built. The next command waits for it; what is published is watched meanwhile.
    building: Option<Building>,
    next_look: Instant,
}

/// Something that is built beside what runs, and who asked for it.
pub(super) enum Building {
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
pub(super) struct Asked {
    pub(super) stage: Id,
    pub(super) number: u64,
    pub(super) request: SwapRequest,
    pub(super) by: By,
    pub(super) started: Instant,
    pub(super) reply: Option<oneshot::Sender<Result<SwapReport, Refusal>>>,
}

/// What a turn is about.
enum Turn {
    Command(Option<Command>),
    Changed(PathBuf),
    Waiting(Id),
    HangUp,
    Built(Box<Done>),
    Look,
}

enum Done {
    Swap(Box<Asked>, Result<Built, BuildError>),
    Reload(
        Box<Reloading>,
        Option<oneshot::Sender<Result<ReloadReport, Refusal>>>,
        Result<Renewed, Refusal>,
    ),
}

impl Changer {
    pub(crate) fn new(
        live: Live,
        commands: mpsc::Receiver<Command>,
        origin: Option<Origin>,
    ) -> Self {
        let mut changer = Self {
            live,
            commands,
            origin,
            watch: None,
            waiting: VecDeque::new(),
            awaited: Vec::new(),
            building: None,
            next_look: Instant::now(),
        };
        if changer.live.config.service.watch {
            changer.watch = Some(Watcher::start(changer.files()));
        }
        let board = &changer.live.board;
        for stage in changer.live.stages.values() {
            board.add(EventView {
                stage: stage.id.to_string(),
                generation: stage.lineup.running.number(),
                sha256: stage.lineup.running.sha256(),
                event: "loaded".to_owned(),
                by: "start".to_owned(),
                ..EventView::default()
            });
        }
        changer
    }

    /// Everything that runs, to be drained: what is being built is given up.
    pub(crate) fn end(self) -> Live {
        self.live
    }

    /// Takes one turn after the other. May be dropped at any moment: what runs is whole then.
    pub(crate) async fn run(&mut self) {
        loop {
            match self.next().await {
                Turn::Command(Some(command)) => self.begin(command).await,
                // Every way to here is gone: nobody can ask for anything any more.
                Turn::Command(None) => std::future::pending().await,
                Turn::Changed(path) => self.file_changed(&path).await,
                Turn::Waiting(stage) => {
                    let request = SwapRequest::default();
                    self.begin_swap(stage.as_str(), request, None, By::File, None)
                        .await;
                }
                Turn::HangUp => self.begin_reload(By::Reload, None).await,
                Turn::Built(done) => match *done {
                    Done::Swap(asked, built) => self.finish_swap(*asked, built).await,
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
        let looks = self.looks();
        let Self {
            commands,
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
            command = commands.recv(), if is_free => Turn::Command(command),
            Some(path) = changed, if is_free => Turn::Changed(path),
            true = hung_up, if is_free => Turn::HangUp,
            // A branch that has ended for good (no watcher, no signals) leaves the others to wait for.
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
            Command::Promote { stage, reply } => {
                let done = self.promote(&stage).await;
                answer(reply, done);
            }
            Command::Cancel { stage, reply } => {
                let done = self.cancel(&stage).await;
                answer(reply, done);
            }
            Command::Reload { by, reply } => self.begin_reload(by, Some(reply)).await,
        }
    }

    async fn file_changed(&mut self, path: &Path) {
        let sources = self.origin.as_ref().map(|origin| &origin.sources);
        if sources.is_some_and(|sources| sources.files().any(|file| file == path)) {
            info!(path = %path.display(), "configuration changed, reloading");
            return self.begin_reload(By::Reload, None).await;
        }
        if self.awaited.iter().any(|module| module == path) {
            info!(path = %path.display(), "a plugin of the configuration changed, reloading");
            self.begin_reload(By::Reload, None).await;
        }
        let of = self.live.stages.values();
        let stages: Vec<Id> = of
            .filter(|stage| stage.wasm.module == path)
            .map(|stage| stage.id.clone())
            .collect();
        for stage in stages {
            info!(stage = %stage, path = %path.display(), "plugin changed");
            self.waiting.push_back(stage);
        }
    }

    /// Reads the configuration again, and begins to build what differs.
    async fn begin_reload(
        &mut self,
        by: By,
        reply: Option<oneshot::Sender<Result<ReloadReport, Refusal>>>,
    ) {
        let started = Instant::now();
        let Some(origin) = &self.origin else {
            let why = "this collector does not know where its configuration came from".to_owned();
            return self.refuse_reload(reply, Refusal::Bad(why));
        };
        match self.live.plan_reload(&origin.sources, by, started).await {
            Ok(reloading) => {
                let built = reloading.build();
                self.building = Some(Building::Reload {
                    reloading: Box::new(reloading),
                    reply,
                    built,
                });
            }
            Err(refusal) => self.refuse_reload(reply, refusal),
        }
    }

    async fn finish_reload(
        &mut self,
        reloading: Reloading,
        reply: Option<oneshot::Sender<Result<ReloadReport, Refusal>>>,
        renewed: Result<Renewed, Refusal>,
    ) {
        let modules = reloading.modules();
        let done = match renewed {
            Ok(renewed) => self.live.reload(reloading, renewed).await,
            Err(refusal) => Err(refusal),
        };
        match done {
            Ok(report) => {
                self.next_look = Instant::now();
                self.awaited.clear();
                self.watch_files();
                info!(
                    changes = report.changes.len(),
                    elapsed_ms = report.elapsed_ms,
                    "configuration reloaded"
                );
                if let Some(reply) = reply {
                    answer(reply, Ok(report));
                }
            }
            Err(refusal) => {
                // A module may have been half written, or come later than the configuration.
                self.awaited = modules;
                self.watch_files();
                self.refuse_reload(reply, refusal);
            }
        }
    }

    #[expect(clippy::unused_self, reason = "it stands beside what it refuses")]
    fn refuse_reload(
        &self,
        reply: Option<oneshot::Sender<Result<ReloadReport, Refusal>>>,
        refusal: Refusal,
    ) {
        warn!(
            error = &refusal as &dyn std::error::Error,
            "configuration not reloaded, everything runs on as it was"
        );
        if let Some(reply) = reply {
            answer(reply, Err(refusal));
        }
    }

    /// What is watched for changes, with what was read of it where that is known.
    fn files(&self) -> Vec<(PathBuf, Option<Digest>)> {
        let sources = self.origin.iter().flat_map(|origin| origin.sources.files());
        let sources = sources.map(|path| (path.to_path_buf(), None));
        let awaited = self.awaited.iter().map(|path| (path.clone(), None));
        let modules = self.live.stages.values().map(|stage| {
            let module = &stage.wasm.module;
            let running = &stage.lineup.running;
            let is_of_file = matches!(&running.source, ModuleSource::File(path) if path == module);
            let known = is_of_file.then(|| running.generation.identity().module);
            (module.clone(), known)
        });
        sources.chain(awaited).chain(modules).collect()
    }

    fn watch_files(&self) {
        if let Some((watcher, _)) = &self.watch {
            watcher.set(self.files());
        }
    }

    /// The stage of this name.
    pub(super) fn find(&self, name: &str) -> Result<Id, Refusal> {
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

    pub(super) fn begin_building(&mut self, building: Building) {
        self.building = Some(building);
    }

    pub(super) fn look_at(&mut self, at: Instant) {
        self.next_look = at;
    }

    pub(super) fn look_soon(&mut self) {
        self.next_look = Instant::now();
    }
}

/// Who asked may have gone.
pub(super) fn answer<T>(reply: oneshot::Sender<Result<T, Refusal>>, done: Result<T, Refusal>) {
    drop(reply.send(done));
}

/// Resolves when what is being built is done.
async fn done(building: &mut Option<Building>) -> Done {
    match building {
        None => std::future::pending::<()>().await,
        Some(Building::Swap { built, .. }) => {
            let built = built.await;
            if let Some(Building::Swap { asked, .. }) = building.take() {
                return Done::Swap(asked, built);
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
