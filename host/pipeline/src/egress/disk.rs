//! The part of an exporter's queue that is on the disk, while its backend takes less than comes in.
//!
//! When the exporter's queue in memory is full, or its log has a backlog, batches go to the log.
//! Once they are durable there, nothing else keeps them: their records in the ingress log are
//! finished, so that a long outage is never replayed through the plugins. The backlog comes back in
//! order, as there is room in the memory of the exporter that has the name now. A log that takes
//! nothing costs room, and nothing else: batches that were to go to the disk wait here, and go out
//! from here when they can.

mod loader;
mod writer;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Notify, watch};

pub(super) use self::loader::DiskLoader;
pub(super) use self::writer::DiskWriter;
use super::memory::MemoryQueue;
use crate::batcher::OutgoingRequest;
use crate::journal::{ExpiredBatches, Log, LogFill, end_of};
use crate::ledger::Ledger;
use crate::queue::{Queue, QueueConfig, Sizer};

/// The most bytes of a durable pipeline that wait in the memory of an exporter's queue: the rest of
/// an outage is on the disk. It is enough for a second of heavy traffic.
pub(super) const QUEUE_BYTES: usize = 16 << 20;

/// The most bytes of senders' batches on their way to the log, and the same again for batches that
/// plugins released: a few groups of what a disk writes at once.
const WAY_BYTES: usize = 8 << 20;

/// The wait after a write or a read that failed. A full disk does not become free faster.
const RETRY: Duration = Duration::from_secs(1);

/// The part of an exporter's queue that is on the disk. There is one for each exporter's name,
/// whatever exporters have it one after the other.
#[derive(Debug)]
pub(super) struct DiskQueue {
    ledger: Arc<Ledger>,
    column: usize,
    exporter: String,
    log: Arc<dyn Log>,
    too_old: ExpiredBatches,
    /// Room on the way to the log; the batches that wait there are in `waiting`.
    room: Queue,
    waiting: Mutex<VecDeque<OutgoingRequest>>,
    arrived: Notify,
    closed: AtomicBool,
    /// The number of batches that are on their way to the log or in it, and not in the queue again.
    backlog: AtomicU64,
    /// The end of the records that are in the books: records below may be read.
    written: watch::Sender<u64>,
    /// The memory of the exporter that has the name now.
    memory: watch::Sender<Weak<MemoryQueue>>,
}

impl DiskQueue {
    /// Makes the queue of an exporter, and books what was in its log at the start.
    pub(super) fn new(
        ledger: Arc<Ledger>,
        column: usize,
        exporter: String,
        log: Arc<dyn Log>,
    ) -> Self {
        let LogFill { records, items, .. } = log.fill();
        ledger.recover(column, items);
        ledger.lose_recovered(column, log.loss());
        if records > 0 {
            tracing::info!(
                pipeline = ledger.pipeline(),
                exporter,
                batches = records,
                items,
                "exporter has a backlog on the disk"
            );
        }
        let room = QueueConfig {
            queue_size: usize::MAX,
            sizer: Sizer::Requests,
            max_bytes: WAY_BYTES,
            ..QueueConfig::default()
        };
        Self {
            ledger,
            column,
            exporter,
            too_old: ExpiredBatches::default(),
            room: Queue::new(room),
            waiting: Mutex::default(),
            arrived: Notify::new(),
            closed: AtomicBool::new(false),
            backlog: AtomicU64::new(records),
            written: watch::Sender::new(end_of(log.as_ref())),
            memory: watch::Sender::new(Weak::new()),
            log,
        }
    }

    /// Returns the exporter's name.
    pub(super) fn exporter(&self) -> &str {
        &self.exporter
    }

    /// Returns the room on the way to the log.
    pub(super) fn room(&self) -> &Queue {
        &self.room
    }

    /// Returns true if a batch that was written at this time is too old to be sent. Counts it then:
    /// the caller gives it up.
    pub(super) fn gives_up(&self, written: SystemTime, items: u64) -> bool {
        let is_expired = self.log.is_expired(written);
        if is_expired {
            self.too_old.add(items);
        }
        is_expired
    }

    /// Returns the fill of the log.
    pub(super) fn log_fill(&self) -> LogFill {
        self.log.fill()
    }

    /// Returns true if batches have to queue up behind those in the log.
    pub(super) fn has_backlog(&self) -> bool {
        self.backlog.load(Ordering::Relaxed) > 0
    }

    /// Makes this the memory into which the backlog goes; an empty `Weak` if no exporter has the
    /// name.
    pub(super) fn lead_to(&self, memory: Weak<MemoryQueue>) {
        self.memory.send_replace(memory);
    }

    /// Puts a batch on its way to the log.
    pub(super) fn push(&self, request: OutgoingRequest) {
        self.backlog.fetch_add(1, Ordering::Relaxed);
        self.lock().push_back(request);
        self.arrived.notify_one();
    }

    /// Marks that nothing more will be pushed: the task that writes ends once it has written
    /// everything.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.arrived.notify_one();
        self.tell_too_old();
    }

    fn tell_too_old(&self) {
        let exporter = Some(self.exporter.as_str());
        self.too_old.tell(self.ledger.pipeline(), exporter);
    }

    /// Lets go of everything that waits. Its tallies book it.
    pub(super) fn clear(&self) {
        let left = std::mem::take(&mut *self.lock());
        drop(left);
    }

    /// Books that batches have left the backlog.
    fn leave(&self, batches: u64) {
        self.backlog.fetch_sub(batches, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<OutgoingRequest>> {
        self.waiting.lock()
    }
}
