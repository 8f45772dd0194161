//! The way out of an exporter's log.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};

use super::{RETRY, Spill};
use crate::batch::Batch;
use crate::completion::Guard;
use crate::egress::outlets::Outlet;
use crate::journal::{Unfinished, Unreadable};
use crate::queue::{Lane, Permit, Queued};

/// The number of records that are read at once: enough to fill the queue faster than a backend
/// empties it.
const READS: usize = 8;
/// The number of tries after which a record that the disk does not give is left where it is: one
/// bad sector should not block the records behind it.
const TRIES: u32 = 5;
/// The time for which it is left there.
const LATER: Duration = Duration::from_secs(60);

/// The time between two checks for records that are too old, which are made even if nothing is
/// sent.
const LOOK: Duration = Duration::from_secs(60);
/// The number of records that are looked at in one go.
const PAGE: usize = 256;

/// A record with its bytes, and room for it in this outlet's queue.
struct Loaded {
    record: Unfinished,
    /// True if an earlier read had failed, so that it was left where it was.
    again: bool,
    outlet: Arc<Outlet>,
    permit: Permit,
    batch: Result<bytes::Bytes, Unreadable>,
}

impl Spill {
    /// Puts the backlog into the queue, in order, as there is room, until the drain begins.
    pub(in crate::egress) async fn load(self: Arc<Self>, mut drain: watch::Receiver<bool>) {
        let mut next = 0;
        let mut reads = FuturesOrdered::new();
        // Records that the disk did not give, and the times to read them again.
        let mut left = VecDeque::new();
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                // Records that were read by then stay in the log.
                _ = drain.wait_for(|draining| *draining) => return,
                _ = looks.tick() => {
                    if self.expire(&mut next) {
                        looks.reset_immediately();
                    }
                    left.retain(|(_, record)| !self.expire_one(record, 0));
                    self.tell_too_old();
                }
                Some(loaded) = reads.next() => {
                    let unread = self.loaded(loaded);
                    left.extend(unread.map(|record| (Instant::now() + LATER, record)));
                }
                (record, (outlet, permit)) = self.claim_again(left.front()), if reads.len() < READS => {
                    left.pop_front();
                    reads.push_back(self.read(record, true, outlet, permit));
                }
                (record, (outlet, permit)) = self.claim(next), if reads.len() < READS => {
                    next = record.record + 1;
                    reads.push_back(self.read(record, false, outlet, permit));
                }
            }
        }
    }

    /// Gives up records that are too old, from `next` on; earlier ones are on their way. Returns
    /// true if there may be more.
    fn expire(&self, next: &mut u64) -> bool {
        let below = *self.written.borrow();
        let page = self.log.unfinished(*next, PAGE);
        let waiting = page.iter().filter(|record| record.record < below);
        // The records are in the order of their age.
        let old = waiting.take_while(|record| self.expire_one(record, 1));
        let old = old.map(|record| record.record + 1).collect::<Vec<_>>();
        *next = old.last().copied().unwrap_or(*next);
        old.len() == PAGE
    }

    /// Gives up a record that is too old, which makes up `batches` batches of the backlog. Returns
    /// true if it was too old.
    fn expire_one(&self, unfinished: &Unfinished, batches: u64) -> bool {
        if !self.log.is_expired(unfinished.written) {
            return false;
        }
        let items = unfinished.items;
        self.too_old.add(items);
        self.ledger.post_exporter(self.column, |column| {
            column.on_disk = column.on_disk.saturating_sub(items);
            column.expired += items;
        });
        self.log.finish(unfinished.record);
        self.leave(batches);
        true
    }

    /// Returns the next record, with room for it. May be dropped at any time: nothing is taken
    /// then.
    async fn claim(&self, next: u64) -> (Unfinished, (Arc<Outlet>, Permit)) {
        let mut written = self.written.subscribe();
        loop {
            let below = *written.borrow_and_update();
            let first = self.log.unfinished(next, 1).into_iter().next();
            if let Some(record) = first.filter(|record| record.record < below) {
                return (record, self.room_for(&record).await);
            }
            // This cannot fail: the sender of the channel is `self`.
            drop(written.changed().await);
        }
    }

    /// Returns a record that was left, when it is due, with room for it.
    async fn claim_again(
        &self,
        left: Option<&(Instant, Unfinished)>,
    ) -> (Unfinished, (Arc<Outlet>, Permit)) {
        let Some((due, record)) = left else {
            return std::future::pending().await;
        };
        tokio::time::sleep_until(*due).await;
        (*record, self.room_for(record).await)
    }

    /// Waits for room in the queue of the outlet that has the name.
    async fn room_for(&self, record: &Unfinished) -> (Arc<Outlet>, Permit) {
        let mut outlets = self.outlet.subscribe();
        loop {
            let outlet = outlets.borrow_and_update().upgrade();
            let room = async {
                match &outlet {
                    Some(outlet) => {
                        let queue = outlet.queue();
                        queue.reserve(Lane::Sent, record.items, record.bytes).await
                    }
                    None => std::future::pending().await,
                }
            };
            let permit = tokio::select! {
                permit = room => permit,
                _ = outlets.changed() => None,
            };
            if let (Some(permit), Some(outlet)) = (permit, outlet) {
                return (outlet, permit);
            }
        }
    }

    /// Reads a record until the disk gives it or no longer has it, at most [`TRIES`] times.
    async fn read(
        &self,
        record: Unfinished,
        again: bool,
        outlet: Arc<Outlet>,
        permit: Permit,
    ) -> Loaded {
        let mut tries = 1;
        let batch = loop {
            match self.log.read(record.record).await {
                Err(Unreadable::Failed(error)) if tries < TRIES => {
                    if tries == 1 {
                        let error: &dyn std::error::Error = &error;
                        let exporter = &self.exporter;
                        tracing::warn!(
                            exporter,
                            error,
                            "exporter's log cannot be read, will retry"
                        );
                    }
                    tries += 1;
                    tokio::time::sleep(RETRY).await;
                }
                batch => break batch,
            }
        };
        Loaded {
            record,
            again,
            outlet,
            permit,
            batch,
        }
    }

    /// Puts a record into the queue. Returns the record if the disk does not give it.
    fn loaded(&self, loaded: Loaded) -> Option<Unfinished> {
        let Loaded {
            record: unfinished,
            again,
            outlet,
            permit,
            batch,
        } = loaded;
        let Unfinished { record, items, .. } = unfinished;
        // A record that is left is not a backlog: nothing waits behind it.
        self.leave(u64::from(!again));
        match batch {
            Ok(bytes) => {
                let guard = Guard::of_record(Arc::clone(&self.log), record);
                let tally = self.ledger.load(self.column, &unfinished, guard);
                let batch = Batch { bytes, tally };
                outlet.queue().push(Queued { batch, permit });
            }
            Err(Unreadable::Failed(error)) => {
                let error: &dyn std::error::Error = &error;
                tracing::error!(
                    exporter = %self.exporter, items, error,
                    "batch on the disk cannot be read, it is left there for now"
                );
                return Some(unfinished);
            }
            Err(error @ Unreadable::Damaged { .. }) => {
                let error: &dyn std::error::Error = &error;
                tracing::error!(
                    exporter = %self.exporter, items, error,
                    "batch on the disk is damaged, items lost"
                );
                self.ledger.post_exporter(self.column, |column| {
                    column.on_disk = column.on_disk.saturating_sub(items);
                    column.failed += items;
                });
                self.log.finish(record);
            }
        }
        None
    }
}
