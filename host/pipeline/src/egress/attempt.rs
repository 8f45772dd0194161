//! One request on its way to one backend: attempts, waits, and the end that the ledger books.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use spandrel_wire::Signal;
use tokio::sync::watch;
use tokio::time::Instant;

use super::ExporterSpec;
use super::leaving::Leaving;
use super::spill::Spill;
use crate::backoff::Backoff;
use crate::batch::Batch;
use crate::batcher::Gathered;
use crate::exporter::Outcome;
use crate::ledger::{End, Ledger, Tally};

/// While draining, no wait between attempts is longer: the process ends soon, and a backend that
/// comes back inside the deadline must still get everything.
const DRAIN_INTERVAL: Duration = Duration::from_millis(500);

pub(super) struct Delivery {
    pub(super) signal: Signal,
    pub(super) ledger: Arc<Ledger>,
    pub(super) column: usize,
    pub(super) spec: Arc<ExporterSpec>,
    pub(super) drain: watch::Receiver<bool>,
    /// In a durable pipeline.
    pub(super) detour: Option<Detour>,
}

/// Where batches go instead of waiting, once the way out ends.
#[derive(Clone)]
pub(super) struct Detour {
    pub(super) spill: Arc<Spill>,
    pub(super) leaving: Leaving,
}

impl Delivery {
    /// Sends until the backend has it, refuses it for good, or time is up. Cancelled, it leaves the
    /// items abandoned.
    pub(super) async fn run(mut self, gathered: Gathered) {
        // The room in the queue is given back when this ends, however it ends.
        let Gathered {
            batch: Batch { bytes, tally },
            permits,
        } = gathered;
        let size = bytes.len();
        let mut backoff = Backoff::new(self.spec.retry.clone());
        let mut attempt = 0_u32;
        let items = tally.items();
        let since = tally.written().unwrap_or_else(SystemTime::now);
        loop {
            attempt += 1;
            let Some(outcome) = self.attempt(&bytes).await else {
                let batch = Batch { bytes, tally };
                return self.give_way(Gathered { batch, permits });
            };
            match outcome {
                Outcome::Sent => {
                    tracing::debug!(exporter = %self.spec.name, items, bytes = size, attempt, "batch sent");
                    return tally.settle(End::Sent { rejected: 0 });
                }
                Outcome::Partial { rejected, message } => {
                    return self.partial(tally, rejected, &message);
                }
                Outcome::Permanent { error } => {
                    tracing::error!(
                        exporter = %self.spec.name, items, attempt, error,
                        "exporting failed for good, items given up"
                    );
                    return tally.settle(End::Failed);
                }
                Outcome::Retry { error, .. } if self.is_too_old(since) => {
                    tracing::error!(
                        exporter = %self.spec.name, items, attempt, error,
                        "items are older than the journal keeps them, given up"
                    );
                    return tally.settle(End::TooOld);
                }
                Outcome::Retry { after, error } => {
                    let Some(wait) = backoff.next_wait(after) else {
                        tracing::error!(
                            exporter = %self.spec.name, items, attempt, error,
                            "exporting failed, no more retries left, items given up"
                        );
                        return tally.settle(End::Expired);
                    };
                    self.wait(wait, attempt, items, &error).await;
                }
            }
        }
    }

    /// One attempt; none when it is to go to the log instead, which is so once the way out ends and
    /// the backend did not take something since.
    async fn attempt(&self, bytes: &Bytes) -> Option<Outcome> {
        let Some(Detour { leaving, .. }) = &self.detour else {
            return Some(self.export(bytes).await);
        };
        if leaving.is_futile() {
            return None;
        }
        let outcome = tokio::select! {
            biased;
            outcome = self.export(bytes) => outcome,
            () = leaving.lose_patience() => return None,
        };
        leaving.saw(&outcome);
        Some(outcome)
    }

    fn is_too_old(&self, since: SystemTime) -> bool {
        let detour = self.detour.as_ref();
        detour.is_some_and(|detour| detour.spill.log().is_expired(since))
    }

    async fn export(&self, bytes: &Bytes) -> Outcome {
        self.ledger
            .post_exporter(self.column, |books| books.attempts += 1);
        let exporter = &self.spec.exporter;
        exporter.export(self.signal, bytes.clone()).await
    }

    /// To the log, unless it is there already and will be sent from there by the next process.
    fn give_way(&self, gathered: Gathered) {
        let Some(Detour { spill, .. }) = &self.detour else {
            return;
        };
        if !(gathered.batch.tally.is_on_disk() && *self.drain.borrow()) {
            spill.push(gathered);
        }
    }

    fn partial(&self, tally: Tally, rejected: u64, message: &str) {
        let items = tally.items();
        tracing::warn!(
            exporter = %self.spec.name, items, rejected, message,
            "partial success: the backend refused some items for good"
        );
        tally.settle(End::Sent { rejected });
    }

    async fn wait(&mut self, wait: Duration, attempt: u32, items: u64, error: &str) {
        let elapsed_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        // The first failure is worth a line at warn; its repetitions are not.
        if attempt == 1 {
            tracing::warn!(
                exporter = %self.spec.name, items, attempt, wait_ms = elapsed_ms, error,
                "exporting failed, will retry after the wait"
            );
        } else {
            tracing::debug!(
                exporter = %self.spec.name, items, attempt, wait_ms = elapsed_ms, error,
                "exporting failed again, will retry after the wait"
            );
        }
        let due = Instant::now() + wait;
        if let Some(Detour { leaving, .. }) = &self.detour {
            // It is futile to go on then, so the next attempt is none.
            drop(tokio::time::timeout_at(due, leaving.begins()).await);
            return;
        }
        let hurry = async {
            // An error means that the pipeline is gone, and this task is about to be.
            drop(self.drain.wait_for(|draining| *draining).await);
        };
        if tokio::time::timeout_at(due, hurry).await.is_ok() {
            tokio::time::sleep_until(due.min(Instant::now() + DRAIN_INTERVAL)).await;
        }
    }
}
