//! One request on its way to one backend: attempts, waits, and the end that the ledger books.

use std::collections::VecDeque;
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
use crate::batcher::{Gathered, Request};
use crate::exporter::{Outcome, Refuses};
use crate::ledger::{End, Ledger};
use crate::queue::Permit;

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

/// A request that is refused for good is taken apart until so much of it was refused; what is left
/// is sent once more as it is. It was merged from more, or from fewer at less than twice the price
/// of never having merged them, and a backend that refuses everything has no more to bear than that.
const MOST_REFUSALS: usize = 256;

/// How sending a request ended.
enum Sending {
    Ended(End),
    /// Another attempt would end the same way.
    Refused(Refuses, String),
    /// It is to go to the log instead.
    GivesWay,
}

impl Delivery {
    /// Sends until the backend has it, refuses it for good, or time is up. A request that was merged
    /// and is refused is taken apart, so that only what is at fault is lost. Cancelled, it leaves the
    /// items abandoned.
    pub(super) async fn run(mut self, gathered: Gathered) {
        // The room in the queue is given back when this ends, however it ends.
        let Gathered { request, permits } = gathered;
        let spec = Arc::clone(&self.spec);
        let anew = || Backoff::new(spec.retry.clone());
        let mut backoff = anew();
        let mut lost = Lost::default();
        // The largest parts first: if time is up, or refusals are too many, little is left of each.
        let mut parts = VecDeque::from([request]);
        while let Some(mut request) = parts.pop_front() {
            match self.send(&request, &mut backoff).await {
                Sending::Ended(end) => {
                    // The backend answers, so the next part has all the time that any request has.
                    // Once one was given up without an answer, the others have no more than it had:
                    // a backend that is gone takes `max_elapsed_time`, not that for each part.
                    if matches!(end, End::Sent { .. }) {
                        backoff = anew();
                    }
                    request.settle(end);
                }
                Sending::Refused(refuses, error) => {
                    let may_halve = refuses == Refuses::Batch && lost.refusals < MOST_REFUSALS;
                    lost.refusals += 1;
                    backoff = anew();
                    match may_halve.then(|| request.halve(self.signal)).flatten() {
                        Some(rest) => parts.extend([request, rest]),
                        None => lost.add(request, error),
                    }
                }
                Sending::GivesWay => {
                    parts.push_front(request);
                    break;
                }
            }
        }
        lost.tell(&self.spec.name);
        self.give_way(parts, permits);
    }

    /// Sends until it has ended. What has no items is not sent.
    async fn send(&mut self, request: &Request, backoff: &mut Backoff) -> Sending {
        let (items, bytes) = (request.items(), request.bytes().len());
        let since = request.written().unwrap_or_else(SystemTime::now);
        let mut attempt = 0_u32;
        loop {
            if items == 0 {
                return Sending::Ended(End::Sent { rejected: 0 });
            }
            attempt += 1;
            let Some(outcome) = self.attempt(request.bytes()).await else {
                return Sending::GivesWay;
            };
            match outcome {
                Outcome::Sent => {
                    tracing::debug!(exporter = %self.spec.name, items, bytes, attempt, "batch sent");
                    return Sending::Ended(End::Sent { rejected: 0 });
                }
                Outcome::Partial { rejected, message } => {
                    tracing::warn!(
                        exporter = %self.spec.name, items, rejected, message,
                        "partial success: the backend refused some items for good"
                    );
                    return Sending::Ended(End::Sent { rejected });
                }
                Outcome::Permanent { refuses, error } => return Sending::Refused(refuses, error),
                Outcome::Retry { .. } if self.is_too_old(since, items) => {
                    return Sending::Ended(End::TooOld);
                }
                Outcome::Retry { after, error } => {
                    let Some(wait) = backoff.next_wait(after) else {
                        tracing::error!(
                            exporter = %self.spec.name, items, attempt, error,
                            "exporting failed, no more retries left, items given up"
                        );
                        return Sending::Ended(End::Expired);
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

    fn is_too_old(&self, since: SystemTime, items: u64) -> bool {
        let spill = self.detour.as_ref().map(|detour| &detour.spill);
        let too_old = spill.filter(|spill| spill.log().is_expired(since));
        too_old
            .inspect(|spill| spill.too_old().add(items))
            .is_some()
    }

    async fn export(&self, bytes: &Bytes) -> Outcome {
        self.ledger
            .post_exporter(self.column, |books| books.attempts += 1);
        let exporter = &self.spec.exporter;
        exporter.export(self.signal, bytes.clone()).await
    }

    /// To the log, unless it is there already and will be sent from there by the next process.
    fn give_way(&self, parts: VecDeque<Request>, permits: Vec<Permit>) {
        let Some(request) = Request::merge(parts.into()) else {
            return;
        };
        let Some(Detour { spill, .. }) = &self.detour else {
            return;
        };
        if !(request.is_on_disk() && *self.drain.borrow()) {
            spill.push(Gathered { request, permits });
        }
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

/// What of one request was refused for good.
#[derive(Default)]
struct Lost {
    refusals: usize,
    items: u64,
    error: String,
}

impl Lost {
    fn add(&mut self, request: Request, error: String) {
        self.items += request.items();
        self.error = error;
        request.settle(End::Failed);
    }

    /// One line, in however many parts it was refused.
    fn tell(&self, exporter: &str) {
        let Self {
            refusals,
            items,
            error,
        } = self;
        if *items > 0 {
            tracing::error!(
                exporter,
                items,
                refusals,
                error,
                "exporting failed for good, items given up"
            );
        } else if *refusals > 0 {
            tracing::info!(
                exporter,
                refusals,
                "backend takes a request in parts that it refused as a whole"
            );
        }
    }
}
