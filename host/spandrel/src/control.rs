//! Changes of the running collector: the commands, and the answers to them.
//!
//! One task owns everything that can change and takes one command after the other. The admin API,
//! the watcher and the signals send it commands through [`Control`].

pub(crate) mod api;
pub(crate) mod awaited;
pub(crate) mod board;
pub(crate) mod build;
pub(crate) mod changer;
mod drift;
pub(crate) mod lineup;
mod looking;
pub(crate) mod probation;
mod publish;
mod redact;
mod reload;
mod swap;

use std::fmt;
use std::sync::Arc;

use spandrel_pipeline::pipeline::ChangeError;
use tokio::sync::{mpsc, oneshot};

use self::api::{
    EventView, PipelineView, QuarantineReport, ReloadReport, ShadowView, StageView, SwapReport,
    SwapRequest,
};
use self::lineup::Watch;
use crate::quarantine::shelves::{Action, Shelves};

/// The most commands that wait for their turn: more than people send at a time, and few enough that
/// the sender of the last one is not surprised by the changes before it.
pub(crate) const QUEUED: usize = 16;

/// The origin of a change: a word for the log and the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    /// A user of the admin API.
    Admin,
    /// The module's file changed.
    File,
    /// The configuration changed, or SIGHUP.
    Reload,
    /// A generation that did not pass its probation.
    Probation,
    /// A plugin that was missing before.
    Source,
}

impl By {
    /// Returns the word for the log and the history.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::File => "file",
            Self::Reload => "reload",
            Self::Probation => "probation",
            Self::Source => "source",
        }
    }
}

/// The reason why a command was not done. The running generation is untouched.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    /// There is no such stage, or nothing to roll back to, promote or cancel: HTTP 404.
    #[error("{0}")]
    NotFound(String),
    /// The candidate is bad: HTTP 422.
    #[error("{0}")]
    Bad(String),
    /// Another change of the same stage is under way, or the queue is full: HTTP 409.
    #[error("{0}")]
    Conflict(String),
    /// The collector is draining: HTTP 503.
    #[error("the collector is stopping: nothing is changed any more")]
    Draining,
}

impl From<ChangeError> for Refusal {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Draining => Self::Draining,
            ChangeError::Busy => Self::Conflict(in_one_line(&error)),
            error => Self::Bad(in_one_line(&error)),
        }
    }
}

type Reply<T> = oneshot::Sender<Result<T, Refusal>>;

/// A command for the one task that owns everything.
pub(crate) enum Command {
    Swap {
        stage: String,
        request: SwapRequest,
        /// The module's bytes, if they came with the request.
        upload: Option<Vec<u8>>,
        by: By,
        reply: Reply<SwapReport>,
    },
    Rollback {
        stage: String,
        reply: Reply<SwapReport>,
    },
    Promote {
        stage: String,
        watch: Watch,
        reply: Reply<SwapReport>,
    },
    Cancel {
        stage: String,
        reply: Reply<SwapReport>,
    },
    Reload {
        by: By,
        reply: Reply<ReloadReport>,
    },
}

/// Views of the collector that can be read at any moment, without a turn in the queue.
pub(crate) trait Views: Send + Sync {
    fn pipelines(&self) -> Vec<PipelineView>;
    fn stages(&self) -> Vec<StageView>;
    /// Returns the events of one stage, or of all, with a higher sequence than `after`.
    fn history(&self, stage: Option<&str>, after: u64) -> Vec<EventView>;
    /// Returns the report of a stage's shadow. `None` if the stage has no shadow.
    fn shadow(&self, stage: &str) -> Option<ShadowView>;
    /// Returns the batches that are in quarantine, to look at and to change.
    fn quarantine(&self) -> Arc<Shelves>;
}

/// The receiving ends of the task: commands that wait for their turn, and urgent ones that do not
/// wait for a build.
pub(crate) type Commands = (mpsc::Receiver<Command>, mpsc::Receiver<Command>);

/// The sending end of the task's commands. A clone sends to the same task.
#[derive(Clone)]
pub(crate) struct Control {
    commands: mpsc::Sender<Command>,
    /// Commands that bring back or end what runs. They must not wait.
    urgent: mpsc::Sender<Command>,
    views: Arc<dyn Views>,
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Control").finish_non_exhaustive()
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Command").finish_non_exhaustive()
    }
}

impl Control {
    /// Makes a sender of commands, and the receiving ends for the task.
    pub(crate) fn new(views: Arc<dyn Views>) -> (Self, Commands) {
        let (commands, asked) = mpsc::channel(QUEUED);
        let (urgent, at_once) = mpsc::channel(QUEUED);
        let control = Self {
            commands,
            urgent,
            views,
        };
        (control, (asked, at_once))
    }

    pub(crate) fn views(&self) -> &dyn Views {
        &*self.views
    }

    /// Builds, checks and publishes another generation of a stage.
    pub(crate) async fn swap(
        &self,
        stage: String,
        request: SwapRequest,
        upload: Option<Vec<u8>>,
        by: By,
    ) -> Result<SwapReport, Refusal> {
        Self::ask(&self.commands, |reply| Command::Swap {
            stage,
            request,
            upload,
            by,
            reply,
        })
        .await
    }

    /// Brings back the generation before the running one.
    pub(crate) async fn rollback(&self, stage: String) -> Result<SwapReport, Refusal> {
        Self::ask(&self.urgent, |reply| Command::Rollback { stage, reply }).await
    }

    /// Publishes the canary or shadow of a stage.
    pub(crate) async fn promote(&self, stage: String, watch: Watch) -> Result<SwapReport, Refusal> {
        Self::ask(&self.urgent, |reply| Command::Promote {
            stage,
            watch,
            reply,
        })
        .await
    }

    /// Ends the canary or shadow of a stage.
    pub(crate) async fn cancel(&self, stage: String) -> Result<SwapReport, Refusal> {
        Self::ask(&self.urgent, |reply| Command::Cancel { stage, reply }).await
    }

    /// Reads the configuration again, and changes what differs.
    pub(crate) async fn reload(&self, by: By) -> Result<ReloadReport, Refusal> {
        Self::ask(&self.commands, |reply| Command::Reload { by, reply }).await
    }

    /// Replays or drops batches that are in quarantine. No other command waits for that.
    pub(crate) async fn quarantine(
        &self,
        action: Action,
        id: Option<String>,
    ) -> Result<QuarantineReport, Refusal> {
        if self.commands.is_closed() {
            return Err(Refusal::Draining);
        }
        self.views.quarantine().change(action, id).await
    }

    async fn ask<T>(
        way: &mpsc::Sender<Command>,
        command: impl FnOnce(Reply<T>) -> Command,
    ) -> Result<T, Refusal> {
        let (reply, answer) = oneshot::channel();
        way.try_send(command(reply)).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Refusal::Conflict(format!(
                "{QUEUED} changes are waiting already: try again when they are done"
            )),
            mpsc::error::TrySendError::Closed(_) => Refusal::Draining,
        })?;
        // The task ends without an answer only when the collector stops.
        answer.await.unwrap_or(Err(Refusal::Draining))
    }
}

/// Returns an error and its causes in one line.
pub(crate) fn in_one_line(error: &dyn std::error::Error) -> String {
    let mut what = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        what.push_str(": ");
        what.push_str(&error.to_string());
        cause = error.source();
    }
    what
}
