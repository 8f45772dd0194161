//! The task that loads an exporter's log into its memory.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};

use super::{DiskQueue, RETRY};
use crate::batch::Batch;
use crate::completion::Guard;
use crate::egress::memory::MemoryQueue;
use crate::journal::{RecordError, UnfinishedRecord};
use crate::queue::{Permit, QueuedBatch, RoomClass};

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

/// A record with its bytes, and room for it in this memory.
struct LoadedRecord {
    record: UnfinishedRecord,
    /// True if an earlier read had failed, so that it was left where it was.
    again: bool,
    memory: Arc<MemoryQueue>,
    permit: Permit,
    batch: Result<bytes::Bytes, RecordError>,
}

/// The task that loads an exporter's log into its memory.
pub(in crate::egress) struct DiskLoader {
    disk: Arc<DiskQueue>,
    drain: watch::Receiver<bool>,
    /// The next record that was not looked at: those before it are on their way.
    next: u64,
    /// The records that the disk did not give, with the times to read them again.
    left: VecDeque<(Instant, UnfinishedRecord)>,
}

impl DiskLoader {
    pub(in crate::egress) fn new(disk: Arc<DiskQueue>, drain: watch::Receiver<bool>) -> Self {
        Self {
            disk,
            drain,
            next: 0,
            left: VecDeque::new(),
        }
    }

    /// Puts the backlog into the memory, in order, as there is room, until the drain begins.
    pub(in crate::egress) async fn run(mut self) {
        let disk = Arc::clone(&self.disk);
        let mut drain = self.drain.clone();
        let mut reads = FuturesOrdered::new();
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                // Records that were read by then stay in the log.
                _ = drain.wait_for(|draining| *draining) => return,
                _ = looks.tick() => {
                    if self.expire() {
                        looks.reset_immediately();
                    }
                    self.left.retain(|(_, record)| !expire_one(&disk, record, 0));
                    disk.tell_too_old();
                }
                Some(loaded) = reads.next() => {
                    let unread = load(&disk, loaded);
                    self.left.extend(unread.map(|record| (Instant::now() + LATER, record)));
                }
                claimed = claim_again(&disk, self.left.front()), if reads.len() < READS => {
                    self.left.pop_front();
                    reads.push_back(read(&disk, claimed, true));
                }
                claimed = claim(&disk, self.next), if reads.len() < READS => {
                    self.next = claimed.record.record + 1;
                    reads.push_back(read(&disk, claimed, false));
                }
            }
        }
    }

    /// Gives up records that are too old, from the next one on. Returns true if there may be more.
    fn expire(&mut self) -> bool {
        let below = *self.disk.written.borrow();
        let page = self.disk.log.unfinished(self.next, PAGE);
        let waiting = page.iter().filter(|record| record.record < below);
        // The records are in the order of their age.
        let old = waiting.take_while(|record| expire_one(&self.disk, record, 1));
        let old = old.map(|record| record.record + 1).collect::<Vec<_>>();
        self.next = old.last().copied().unwrap_or(self.next);
        old.len() == PAGE
    }
}

/// A record that is read next, and room for it in this memory.
struct ClaimedRecord {
    record: UnfinishedRecord,
    memory: Arc<MemoryQueue>,
    permit: Permit,
}

/// Gives up a record that is too old, which makes up `batches` batches of the backlog. Returns true
/// if it was too old.
fn expire_one(disk: &DiskQueue, unfinished: &UnfinishedRecord, batches: u64) -> bool {
    let items = unfinished.items;
    if !disk.gives_up(unfinished.written, items) {
        return false;
    }
    disk.ledger.post_exporter(disk.column, |column| {
        column.on_disk = column.on_disk.saturating_sub(items);
        column.expired += items;
    });
    disk.log.finish(unfinished.record);
    disk.leave(batches);
    true
}

/// Returns the next record, with room for it. May be dropped at any time: nothing is taken then.
async fn claim(disk: &DiskQueue, next: u64) -> ClaimedRecord {
    let mut written = disk.written.subscribe();
    loop {
        let below = *written.borrow_and_update();
        let first = disk.log.unfinished(next, 1).into_iter().next();
        if let Some(record) = first.filter(|record| record.record < below) {
            return claim_room(disk, record).await;
        }
        // This cannot fail: the sender of the channel is `disk`.
        drop(written.changed().await);
    }
}

/// Returns a record that was left, when it is due, with room for it.
async fn claim_again(
    disk: &DiskQueue,
    left: Option<&(Instant, UnfinishedRecord)>,
) -> ClaimedRecord {
    let Some((due, record)) = left else {
        return std::future::pending().await;
    };
    let (due, record) = (*due, *record);
    tokio::time::sleep_until(due).await;
    claim_room(disk, record).await
}

/// Waits for room in the memory of the exporter that has the name.
async fn claim_room(disk: &DiskQueue, record: UnfinishedRecord) -> ClaimedRecord {
    let mut memories = disk.memory.subscribe();
    loop {
        let memory = memories.borrow_and_update().upgrade();
        let room = async {
            match &memory {
                Some(memory) => {
                    let queue = memory.queue();
                    let UnfinishedRecord { items, bytes, .. } = record;
                    queue.reserve(RoomClass::Sent, items, bytes).await
                }
                None => std::future::pending().await,
            }
        };
        let permit = tokio::select! {
            permit = room => permit,
            _ = memories.changed() => None,
        };
        if let (Some(permit), Some(memory)) = (permit, memory) {
            return ClaimedRecord {
                record,
                memory,
                permit,
            };
        }
    }
}

/// Reads a record until the disk gives it or no longer has it, at most [`TRIES`] times.
async fn read(disk: &DiskQueue, claimed: ClaimedRecord, again: bool) -> LoadedRecord {
    let ClaimedRecord {
        record,
        memory,
        permit,
    } = claimed;
    let mut tries = 1;
    let batch = loop {
        match disk.log.read(record.record).await {
            Err(RecordError::Failed(error)) if tries < TRIES => {
                if tries == 1 {
                    let error: &dyn std::error::Error = &error;
                    let exporter = &disk.exporter;
                    tracing::warn!(exporter, error, "exporter's log cannot be read, will retry");
                }
                tries += 1;
                tokio::time::sleep(RETRY).await;
            }
            batch => break batch,
        }
    };
    LoadedRecord {
        record,
        again,
        memory,
        permit,
        batch,
    }
}

/// Puts a record into the memory. Returns the record if the disk does not give it.
fn load(disk: &DiskQueue, loaded: LoadedRecord) -> Option<UnfinishedRecord> {
    let LoadedRecord {
        record: unfinished,
        again,
        memory,
        permit,
        batch,
    } = loaded;
    let UnfinishedRecord { record, items, .. } = unfinished;
    // A record that is left is not a backlog: nothing waits behind it.
    disk.leave(u64::from(!again));
    match batch {
        Ok(bytes) => {
            let guard = Guard::of_record(Arc::clone(&disk.log), record);
            let tally = disk.ledger.load(disk.column, &unfinished, guard);
            let batch = Batch { bytes, tally };
            memory.queue().push(QueuedBatch { batch, permit });
        }
        Err(RecordError::Failed(error)) => {
            let error: &dyn std::error::Error = &error;
            tracing::error!(
                exporter = %disk.exporter, items, error,
                "batch on the disk cannot be read, it is left there for now"
            );
            return Some(unfinished);
        }
        Err(error @ RecordError::Damaged { .. }) => {
            let error: &dyn std::error::Error = &error;
            tracing::error!(
                exporter = %disk.exporter, items, error,
                "batch on the disk is damaged, items lost"
            );
            disk.ledger.post_exporter(disk.column, |column| {
                column.on_disk = column.on_disk.saturating_sub(items);
                column.failed += items;
            });
            disk.log.finish(record);
        }
    }
    None
}
