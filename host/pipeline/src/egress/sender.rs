//! The sending of one request to one backend: attempts and the waits between them.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use spandrel_wire::Signal;
use tokio::sync::watch;
use tokio::time::Instant;

use super::disk::DiskQueue;
use super::drain_state::{DrainState, PATIENCE};
use super::settings::SettingsLease;
use crate::backoff::Backoff;
use crate::batcher::OutgoingRequest;
use crate::exporter::{Outcome, Refuses};
use crate::ledger::{End, Ledger};

/// The longest wait between attempts while draining: the process ends soon, and a backend that
/// comes back before the deadline must still get everything.
const DRAIN_INTERVAL: Duration = Duration::from_millis(500);

/// The way to the log, in place of a wait, once the exporter shuts down.
#[derive(Clone)]
pub(super) struct DrainToLog {
    pub(super) disk: Arc<DiskQueue>,
    pub(super) state: DrainState,
}

/// The end of sending a request.
pub(super) enum SendEnd {
    /// The ledger books this.
    Final(End),
    /// The backend refuses it for good: another attempt would end the same way.
    Refused(Refuses, String),
    /// It is to go to the log instead.
    ToLog,
}

/// The next step after an attempt.
enum NextStep {
    End(SendEnd),
    /// Another attempt, after this wait, because of this error.
    Wait(Duration, String),
}

/// Sends requests to one backend, each with retries.
pub(super) struct RetryingSender {
    pub(super) signal: Signal,
    pub(super) ledger: Arc<Ledger>,
    pub(super) column: usize,
    pub(super) settings: SettingsLease,
    pub(super) drain: watch::Receiver<bool>,
    /// The way to the log, in a durable pipeline.
    pub(super) to_log: Option<DrainToLog>,
}

impl RetryingSender {
    /// Begins a series of attempts, with all the time that a request has.
    pub(super) fn begin(&self) -> Backoff {
        Backoff::new(self.settings.retry.clone())
    }

    /// Sends a request until it has ended. A request without items is not sent.
    pub(super) async fn send(
        &mut self,
        request: &OutgoingRequest,
        backoff: &mut Backoff,
    ) -> SendEnd {
        let items = request.items();
        if items == 0 {
            return SendEnd::Final(End::Sent { rejected: 0 });
        }
        let since = request.written().unwrap_or_else(SystemTime::now);
        let mut attempt = 0_u32;
        loop {
            attempt += 1;
            let Some(outcome) = self.attempt(request.bytes()).await else {
                return SendEnd::ToLog;
            };
            if depends_on_settings(&outcome) && self.settings.renew() {
                (*backoff, attempt) = (self.begin(), 0);
                continue;
            }
            match self.step(outcome, request, since, attempt, backoff) {
                NextStep::End(end) => return end,
                NextStep::Wait(wait, error) => {
                    self.wait(wait, attempt, items, &error).await;
                    if self.settings.renew() {
                        (*backoff, attempt) = (self.begin(), 0);
                    }
                }
            }
        }
    }

    /// Returns the step that follows from an attempt.
    fn step(
        &self,
        outcome: Outcome,
        request: &OutgoingRequest,
        since: SystemTime,
        attempt: u32,
        backoff: &mut Backoff,
    ) -> NextStep {
        let (items, bytes) = (request.items(), request.bytes().len());
        let exporter = &self.settings.name;
        NextStep::End(match outcome {
            Outcome::Sent => {
                tracing::debug!(exporter, items, bytes, attempt, "batch sent");
                SendEnd::Final(End::Sent { rejected: 0 })
            }
            Outcome::Partial { rejected, message } => {
                tracing::warn!(
                    exporter,
                    items,
                    rejected,
                    message,
                    "partial success: the backend refused some items for good"
                );
                SendEnd::Final(End::Sent { rejected })
            }
            Outcome::Permanent { refuses, error } => SendEnd::Refused(refuses, error),
            Outcome::Retry { .. } if self.gives_up(since, items) => {
                SendEnd::Final(End::ExpiredBatches)
            }
            Outcome::Retry { after, error } => match backoff.next_wait(after) {
                Some(wait) => return NextStep::Wait(wait, error),
                None => {
                    tracing::error!(
                        exporter,
                        items,
                        attempt,
                        error,
                        "exporting failed, no more retries left, items given up"
                    );
                    SendEnd::Final(End::Expired)
                }
            },
        })
    }

    /// Makes one attempt; `None` if the request is to go to the log instead, which is so if the
    /// exporter shuts down and the backend has taken nothing since.
    async fn attempt(&self, bytes: &Bytes) -> Option<Outcome> {
        let Some(DrainToLog { state, .. }) = &self.to_log else {
            return Some(self.export(bytes).await);
        };
        if state.is_futile() {
            return None;
        }
        let outcome = tokio::select! {
            biased;
            outcome = self.export(bytes) => outcome,
            () = state.lose_patience() => return None,
            () = self.outlives_its_settings() => Outcome::Retry {
                after: None,
                error: "no answer, and the exporter has other settings since".to_owned(),
            },
        };
        state.saw(&outcome);
        Some(outcome)
    }

    async fn export(&self, bytes: &Bytes) -> Outcome {
        self.ledger
            .post_exporter(self.column, |books| books.attempts += 1);
        let exporter = &self.settings.exporter;
        exporter.export(self.signal, bytes.clone()).await
    }

    /// Returns true if items that were written at this time are too old to be sent, and counts them
    /// then.
    fn gives_up(&self, since: SystemTime, items: u64) -> bool {
        let to_log = self.to_log.as_ref();
        to_log.is_some_and(|to_log| to_log.disk.gives_up(since, items))
    }

    /// Sends a request to the log, unless it is there already and the next process will send it
    /// from there.
    pub(super) fn send_to_log(&self, request: OutgoingRequest) {
        let Some(DrainToLog { disk, .. }) = &self.to_log else {
            return;
        };
        if !(request.is_on_disk() && *self.drain.borrow()) {
            disk.push(request);
        }
    }

    /// Resolves some time after the settings have changed: a batch that is in the log may as well
    /// be sent twice.
    async fn outlives_its_settings(&self) {
        self.settings.is_outdated().await;
        tokio::time::sleep(PATIENCE).await;
    }

    async fn wait(&mut self, wait: Duration, attempt: u32, items: u64, error: &str) {
        let elapsed_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        // The first failure is worth a line at warn; its repetitions are not.
        if attempt == 1 {
            tracing::warn!(
                exporter = %self.settings.name, items, attempt, wait_ms = elapsed_ms, error,
                "exporting failed, will retry after the wait"
            );
        } else {
            tracing::debug!(
                exporter = %self.settings.name, items, attempt, wait_ms = elapsed_ms, error,
                "exporting failed again, will retry after the wait"
            );
        }
        let due = Instant::now() + wait;
        if let Some(DrainToLog { state, .. }) = &self.to_log {
            // Once the exporter shuts down, another attempt is futile: the wait ends early, and
            // none is made.
            tokio::select! {
                ended = tokio::time::timeout_at(due, state.begins()) => drop(ended),
                () = self.settings.is_outdated() => {}
            }
            return;
        }
        let hurry = async {
            // An error means that the pipeline is gone, and this task is about to be.
            drop(self.drain.wait_for(|draining| *draining).await);
        };
        let whole = async {
            if tokio::time::timeout_at(due, hurry).await.is_ok() {
                tokio::time::sleep_until(due.min(Instant::now() + DRAIN_INTERVAL)).await;
            }
        };
        tokio::select! {
            () = whole => {}
            () = self.settings.is_outdated() => {}
        }
    }
}

/// Returns true if other settings may bring another outcome.
fn depends_on_settings(outcome: &Outcome) -> bool {
    let is_for_everything = |refuses| refuses == Refuses::Everything;
    match outcome {
        Outcome::Retry { .. } => true,
        Outcome::Permanent { refuses, .. } => is_for_everything(*refuses),
        Outcome::Sent | Outcome::Partial { .. } => false,
    }
}
