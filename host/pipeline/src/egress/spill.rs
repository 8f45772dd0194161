//! The way of batches into an exporter's log and back, while its backend takes less than comes in.
//!
//! When the exporter's queue is full, or its log has a backlog, batches go to the log. Once they
//! are durable there, nothing else keeps them: their records in the ingress log are finished, so
//! that a long outage is never replayed through the plugins. The backlog comes back in order, as
//! there is room in the queue of the outlet that has the exporter's name now. A log that takes
//! nothing costs room, and nothing else: batches that were to be spilled wait here, and go out from
//! here when they can.

mod load;
mod write;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{Notify, watch};

use super::outlets::Outlet;
use crate::batcher::Gathered;
use crate::journal::{Log, LogFill, TooOld, end_of};
use crate::ledger::Ledger;
use crate::queue::{Queue, QueueConfig, QueueFill, Sizer};

/// The most bytes of a durable pipeline that wait in the memory of an exporter's queue: the rest of
/// an outage is on the disk. It is enough for a second of heavy traffic.
pub(super) const QUEUE_BYTES: usize = 16 << 20;

/// The most bytes of senders' batches on their way to the log, and the same again for batches that
/// plugins released: a few groups of what a disk writes at once.
const SPILL_BYTES: usize = 8 << 20;

/// The wait after a write or a read that failed. A full disk does not become free faster.
const RETRY: Duration = Duration::from_secs(1);

/// The way of batches into an exporter's log and back. There is one for each exporter's name,
/// whatever outlets have it.
#[derive(Debug)]
pub(super) struct Spill {
    ledger: Arc<Ledger>,
    column: usize,
    exporter: String,
    log: Arc<dyn Log>,
    too_old: TooOld,
    /// Room on the way to the log; the batches that wait there are in `waiting`.
    room: Queue,
    waiting: Mutex<VecDeque<Gathered>>,
    arrived: Notify,
    closed: AtomicBool,
    /// The number of batches that are on their way to the log or in it, and not in the queue again.
    backlog: AtomicU64,
    /// The end of the records that are in the books: records below may be read.
    written: watch::Sender<u64>,
    /// The outlet that has the name now.
    outlet: watch::Sender<Weak<Outlet>>,
}

impl Spill {
    /// Makes the spill of an exporter, and books what was in its log at the start.
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
            max_bytes: SPILL_BYTES,
            ..QueueConfig::default()
        };
        Self {
            ledger,
            column,
            exporter,
            too_old: TooOld::default(),
            room: Queue::new(room),
            waiting: Mutex::default(),
            arrived: Notify::new(),
            closed: AtomicBool::new(false),
            backlog: AtomicU64::new(records),
            written: watch::Sender::new(end_of(log.as_ref())),
            outlet: watch::Sender::new(Weak::new()),
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

    pub(super) fn fill(&self) -> QueueFill {
        self.room.fill()
    }

    pub(super) fn log(&self) -> &Arc<dyn Log> {
        &self.log
    }

    /// Returns the counter of batches for this exporter that were given up because they were too
    /// old.
    pub(super) fn too_old(&self) -> &TooOld {
        &self.too_old
    }

    /// Returns the fill of the log.
    pub(super) fn log_fill(&self) -> LogFill {
        self.log.fill()
    }

    /// Returns true if batches have to queue up behind those in the log.
    pub(super) fn has_backlog(&self) -> bool {
        self.backlog.load(Ordering::Relaxed) > 0
    }

    /// Makes this the outlet into whose queue the backlog goes; an empty `Weak` if no outlet has
    /// the name.
    pub(super) fn lead_to(&self, outlet: Weak<Outlet>) {
        self.outlet.send_replace(outlet);
    }

    /// Puts a batch on its way to the log.
    pub(super) fn push(&self, gathered: Gathered) {
        self.backlog.fetch_add(1, Ordering::Relaxed);
        self.lock().push_back(gathered);
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

    fn lock(&self) -> MutexGuard<'_, VecDeque<Gathered>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
