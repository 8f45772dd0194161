//! The handle of a running collector: it sends commands to the one task that owns everything that
//! can change, and reads the status without a turn in that task's queue.

use std::fmt;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use crate::quarantines::{Action, Quarantines};
use crate::refusal::Refusal;
use crate::report::{QuarantineReport, ReloadReport, SwapReport, SwapRequest};
use crate::stage::Watch;
use crate::status::Status;
use crate::trigger::Trigger;

/// The most commands that wait for their turn: more than people send at a time. With more, the last
/// one would wait for many changes that its sender did not know of.
pub const QUEUED: usize = 16;

/// The way back for the answer to a command.
pub type Reply<T> = oneshot::Sender<Result<T, Refusal>>;

/// A command for the one task that owns everything.
pub enum Command {
    /// Builds, checks and publishes another generation of a stage.
    Swap {
        /// The stage.
        stage: String,
        /// The wanted generation.
        request: SwapRequest,
        /// The module's bytes, if they came with the request.
        upload: Option<Vec<u8>>,
        /// The cause.
        by: Trigger,
        /// The way back for the answer.
        reply: Reply<SwapReport>,
    },
    /// Brings back the generation before the running one.
    Rollback {
        /// The stage.
        stage: String,
        /// The way back for the answer.
        reply: Reply<SwapReport>,
    },
    /// Publishes the canary or shadow of a stage.
    Promote {
        /// The stage.
        stage: String,
        /// The evidence that counts against the new generation.
        watch: Watch,
        /// The way back for the answer.
        reply: Reply<SwapReport>,
    },
    /// Ends the canary or shadow of a stage.
    Cancel {
        /// The stage.
        stage: String,
        /// The way back for the answer.
        reply: Reply<SwapReport>,
    },
    /// Reads the configuration again.
    Reload {
        /// The cause.
        by: Trigger,
        /// The way back for the answer.
        reply: Reply<ReloadReport>,
    },
}

/// The receiving ends of the task: commands that wait for their turn, and urgent ones that do not
/// wait for a build.
pub type Commands = (mpsc::Receiver<Command>, mpsc::Receiver<Command>);

/// The sending end of the task's commands. A clone sends to the same task.
#[derive(Clone)]
pub struct Control {
    commands: mpsc::Sender<Command>,
    /// Commands that bring back or end what runs. They must not wait.
    urgent: mpsc::Sender<Command>,
    status: Arc<Status>,
    quarantines: Arc<Quarantines>,
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
    pub fn new(status: Arc<Status>) -> (Self, Commands) {
        let (commands, asked) = mpsc::channel(QUEUED);
        let (urgent, at_once) = mpsc::channel(QUEUED);
        let control = Self {
            commands,
            urgent,
            quarantines: Arc::new(Quarantines::new(Arc::clone(&status))),
            status,
        };
        (control, (asked, at_once))
    }

    /// Returns the status, which can be read at any moment.
    pub fn status(&self) -> &Status {
        &self.status
    }

    /// Returns the batches in quarantine, to look at.
    pub fn quarantines(&self) -> &Quarantines {
        &self.quarantines
    }

    /// Builds, checks and publishes another generation of a stage.
    pub async fn swap(
        &self,
        stage: String,
        request: SwapRequest,
        upload: Option<Vec<u8>>,
        by: Trigger,
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
    pub async fn rollback(&self, stage: String) -> Result<SwapReport, Refusal> {
        Self::ask(&self.urgent, |reply| Command::Rollback { stage, reply }).await
    }

    /// Publishes the canary or shadow of a stage.
    pub async fn promote(&self, stage: String, watch: Watch) -> Result<SwapReport, Refusal> {
        Self::ask(&self.urgent, |reply| Command::Promote {
            stage,
            watch,
            reply,
        })
        .await
    }

    /// Ends the canary or shadow of a stage.
    pub async fn cancel(&self, stage: String) -> Result<SwapReport, Refusal> {
        Self::ask(&self.urgent, |reply| Command::Cancel { stage, reply }).await
    }

    /// Reads the configuration again, and changes what differs.
    pub async fn reload(&self, by: Trigger) -> Result<ReloadReport, Refusal> {
        Self::ask(&self.commands, |reply| Command::Reload { by, reply }).await
    }

    /// Replays or drops batches that are in quarantine. No other command waits for that.
    pub async fn quarantine(
        &self,
        action: Action,
        id: Option<String>,
    ) -> Result<QuarantineReport, Refusal> {
        if self.commands.is_closed() {
            return Err(Refusal::Draining);
        }
        self.quarantines.change(action, id).await
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
