//! The delivery of one request to one backend: attempts, waits, and the end that the ledger books.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use spandrel_wire::Signal;
use tokio::sync::watch;
use tokio::time::Instant;

use super::leaving::{Leaving, PATIENCE};
use super::settings::Lease;
use super::spill::Spill;
use crate::backoff::Backoff;
use crate::batcher::{Gathered, Request};
use crate::exporter::{Outcome, Refuses};
use crate::ledger::{End, Ledger};
use crate::queue::Permit;

/// The longest wait between attempts while draining: the process ends soon, and a backend that
/// comes back before the deadline must still get everything.
const DRAIN_INTERVAL: Duration = Duration::from_millis(500);

pub(super) struct Delivery {
    pub(super) signal: Signal,
    pub(super) ledger: Arc<Ledger>,
    pub(super) column: usize,
    pub(super) spec: Lease,
    pub(super) drain: watch::Receiver<bool>,
    /// The way to the log, in a durable pipeline.
    pub(super) detour: Option<Detour>,
}

/// The way to the log, for batches that would have to wait once the way out ends.
#[derive(Clone)]
pub(super) struct Detour {
    pub(super) spill: Arc<Spill>,
    pub(super) leaving: Leaving,
}

/// The number of refusals after which the parts of a request that was refused for good are not
/// taken apart any more, but sent once more as they are. The request was merged from more batches
/// than this, or from fewer at less than twice the cost of never having merged them, and a backend
/// that refuses everything gets no more than that.
const MOST_REFUSALS: usize = 256;

/// The same number if the backend took no part of the previous request: then the data is not at
/// fault. It is enough to find out that the backend takes a part of this one.
const FEW_REFUSALS: usize = 16;

/// The result of sending a request.
enum Sending {
    Ended(End),
    /// Another attempt would end the same way.
    Refused(Refuses, String),
    /// The request is to go to the log instead.
    GivesWay,
}

impl Delivery {
    /// Sends until the backend has the request, refuses it for good, or time is up. A request that
    /// is refused is taken apart, so that only the items at fault are lost; one that is longer than
    /// the backend is known to take is taken apart before it is sent. If this is cancelled, the
    /// items are abandoned.
    pub(super) async fn run(mut self, gathered: Gathered) {
        // The room in the queue is given back when this ends, however it ends.
        let Gathered { request, permits } = gathered;
        let mut backoff = self.anew();
        let mut lost = Lost::default();
        // The largest parts come first: if time is up, or refusals are too many, the parts that are
        // left are small.
        let mut parts = VecDeque::from([request]);
        while let Some(mut request) = parts.pop_front() {
            if request.bytes().len() > self.spec.known().most_bytes() {
                let rest = request.halve(self.signal);
                if !rest.is_empty() {
                    rest.into_iter()
                        .rev()
                        .for_each(|part| parts.push_front(part));
                    parts.push_front(request);
                    continue;
                }
            }
            match self.send(&request, &mut backoff).await {
                Sending::Ended(end) => {
                    // The backend answers, so the next part has all the time that any request has.
                    // Once a part was given up without an answer, the others share its time: a
                    // backend that is gone takes `max_elapsed_time` once, not once for each part.
                    if matches!(end, End::Sent { .. }) {
                        backoff = self.anew();
                        lost.is_all = false;
                        self.spec.known().took(request.bytes().len());
                    }
                    request.settle(end);
                }
                Sending::Refused(refuses, error) => {
                    backoff = self.anew();
                    parts.extend(self.refused(request, refuses, error, &mut lost));
                }
                Sending::GivesWay => {
                    parts.push_front(request);
                    break;
                }
            }
        }
        if lost.is_all && lost.refusals > FEW_REFUSALS {
            self.spec.known().refused_all();
        }
        lost.tell(&self.spec.name);
        self.give_way(parts, permits);
    }

    /// Returns the parts to send of a request that was refused for good, if any.
    fn refused(
        &self,
        mut request: Request,
        refuses: Refuses,
        error: String,
        lost: &mut Lost,
    ) -> Vec<Request> {
        if let Refuses::Size { limit } = refuses {
            self.spec
                .known()
                .refused(request.bytes().len(), limit, &error);
        }
        let is_hopeless = lost.is_all && self.spec.known().refuses_all();
        let most = if is_hopeless {
            FEW_REFUSALS
        } else {
            MOST_REFUSALS
        };
        let may_halve = refuses != Refuses::Everything && lost.refusals < most;
        lost.refusals += 1;
        let rest = match may_halve {
            true => request.halve(self.signal),
            false => Vec::new(),
        };
        if rest.is_empty() {
            let is_size = matches!(refuses, Refuses::Size { .. }) && may_halve;
            lost.add(request, is_size, error);
            return rest;
        }
        let mut parts = vec![request];
        parts.extend(rest);
        parts
    }

    /// Sends a request until it has ended. A request without items is not sent.
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
            if is_of_the_settings(&outcome) && self.spec.renew() {
                (*backoff, attempt) = (self.anew(), 0);
                continue;
            }
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
                    if self.spec.renew() {
                        (*backoff, attempt) = (self.anew(), 0);
                    }
                }
            }
        }
    }

    /// Makes one attempt; `None` if the request is to go to the log instead, which is so if the way
    /// out ends and the backend has taken nothing since.
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
            () = self.outlives_its_settings() => Outcome::Retry {
                after: None,
                error: "no answer, and the exporter has other settings since".to_owned(),
            },
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

    /// Sends the rest to the log, unless it is there already and the next process will send it from
    /// there.
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

    /// Resolves some time after the settings have changed: a batch that is in the log may as well
    /// be sent twice.
    async fn outlives_its_settings(&self) {
        self.spec.is_outdated().await;
        tokio::time::sleep(PATIENCE).await;
    }

    /// Begins another series of attempts, with all its time.
    fn anew(&self) -> Backoff {
        Backoff::new(self.spec.retry.clone())
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
            // Once the way out ends, another attempt is futile: the wait ends early, and none is
            // made.
            tokio::select! {
                ended = tokio::time::timeout_at(due, leaving.begins()) => drop(ended),
                () = self.spec.is_outdated() => {}
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
            () = self.spec.is_outdated() => {}
        }
    }
}

/// Returns true if other settings may bring another outcome.
fn is_of_the_settings(outcome: &Outcome) -> bool {
    let is_for_everything = |refuses| refuses == Refuses::Everything;
    match outcome {
        Outcome::Retry { .. } => true,
        Outcome::Permanent { refuses, .. } => is_for_everything(*refuses),
        Outcome::Sent | Outcome::Partial { .. } => false,
    }
}

/// The part of one request that was refused for good.
struct Lost {
    refusals: usize,
    /// True if nothing of the request was taken.
    is_all: bool,
    items: u64,
    error: String,
    /// The items among these that are too long even alone, and the longest of them in bytes.
    too_large: u64,
    longest: usize,
}

impl Default for Lost {
    fn default() -> Self {
        Self {
            refusals: 0,
            is_all: true,
            items: 0,
            error: String::new(),
            too_large: 0,
            longest: 0,
        }
    }
}

impl Lost {
    fn add(&mut self, request: Request, is_too_long: bool, error: String) {
        let items = request.items();
        self.items += items;
        self.error = error;
        if is_too_long {
            self.too_large += items;
            self.longest = self.longest.max(request.bytes().len());
            request.settle(End::TooLarge);
        } else {
            request.settle(End::Failed);
        }
    }

    /// Logs a line or two, regardless of the number of refused parts.
    fn tell(&self, exporter: &str) {
        let Self {
            refusals,
            items,
            error,
            too_large,
            longest,
            ..
        } = self;
        if *too_large > 0 {
            tracing::error!(
                exporter,
                items = too_large,
                max_bytes = longest,
                error,
                "items are too long for the backend even alone, given up"
            );
        }
        if items > too_large {
            tracing::error!(
                exporter,
                items = items - too_large,
                refusals,
                error,
                "exporting failed for good, items given up"
            );
        } else if *refusals > 0 && *items == 0 {
            tracing::info!(
                exporter,
                refusals,
                "backend takes a request in parts that it refused as a whole"
            );
        }
    }
}
