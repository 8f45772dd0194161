//! Out of the log.

use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use tokio::sync::watch;

use super::{RETRY, Spill};
use crate::batch::Batch;
use crate::completion::Guard;
use crate::egress::outlets::Outlet;
use crate::journal::{Unfinished, Unreadable};
use crate::queue::{Lane, Permit, Queued};

/// So many records are read at once: the queue is filled faster than a backend empties it.
const READS: usize = 8;

/// A record with its bytes, and room for it in this outlet's queue.
struct Loaded {
    record: Unfinished,
    outlet: Arc<Outlet>,
    permit: Permit,
    batch: Result<bytes::Bytes, Unreadable>,
}

impl Spill {
    /// Puts the backlog into the queue, in order, as there is room, until the drain begins.
    pub(in crate::egress) async fn load(self: Arc<Self>, mut drain: watch::Receiver<bool>) {
        let mut next = 0;
        let mut reads = FuturesOrdered::new();
        loop {
            tokio::select! {
                biased;
                // What was read by then stays in the log.
                _ = drain.wait_for(|draining| *draining) => return,
                Some(loaded) = reads.next() => self.loaded(loaded),
                (record, outlet, permit) = self.claim(next), if reads.len() < READS => {
                    next = record.record + 1;
                    reads.push_back(self.read(record, outlet, permit));
                }
            }
        }
    }

    /// The next record, with room for it. May be dropped at any time: nothing is taken then.
    async fn claim(&self, next: u64) -> (Unfinished, Arc<Outlet>, Permit) {
        let mut outlets = self.outlet.subscribe();
        let mut written = self.written.subscribe();
        loop {
            let below = *written.borrow_and_update();
            let first = self.log.unfinished(next, 1).into_iter().next();
            let Some(record) = first.filter(|record| record.record < below) else {
                // The sender of this is `self`.
                drop(written.changed().await);
                continue;
            };
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
                return (record, outlet, permit);
            }
        }
    }

    /// Reads until the disk gives it, or has it no more.
    async fn read(&self, record: Unfinished, outlet: Arc<Outlet>, permit: Permit) -> Loaded {
        let mut attempt = 0_u32;
        let batch = loop {
            match self.log.read(record.record).await {
                Err(Unreadable::Failed(error)) => {
                    if attempt == 0 {
                        let error: &dyn std::error::Error = &error;
                        let exporter = &self.exporter;
                        tracing::warn!(
                            exporter,
                            error,
                            "exporter's log cannot be read, will retry"
                        );
                    }
                    attempt += 1;
                    tokio::time::sleep(RETRY).await;
                }
                batch => break batch,
            }
        };
        Loaded {
            record,
            outlet,
            permit,
            batch,
        }
    }

    fn loaded(&self, loaded: Loaded) {
        let Loaded {
            record: Unfinished { record, items, .. },
            outlet,
            permit,
            batch,
        } = loaded;
        match batch {
            Ok(bytes) => {
                let guard = Guard::of_record(Arc::clone(&self.log), record);
                let tally = self.ledger.load(self.column, items, guard);
                let batch = Batch { bytes, tally };
                outlet.queue().push(Queued { batch, permit });
            }
            Err(error) => {
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
        self.leave(1);
    }
}
