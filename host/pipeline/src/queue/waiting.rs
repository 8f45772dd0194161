//! The waiting room of a queue: for admitted batches that find no room in the queue of one
//! exporter. They wait here for a while instead of delaying the other exporters' batches.
//!
//! Senders' batches and batches that plugins released each have a room of their own, bounded in
//! bytes. So neither waits for the other, and it makes no difference whether a sender is still
//! there.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, timeout_at};

use super::room::{AdjustableBound, BYTES_UNIT, BoundPermit};
use super::{Queue, QueuedBatch, RoomClass};
use crate::batch::Batch;

/// The longest time that a batch waits for room in one exporter's queue: most SDKs give up on their
/// own after 10 s, and none waits for longer than 30 s.
pub(crate) const OVERFLOW_WAIT: Duration = Duration::from_secs(30);
/// The most bytes of senders' batches that wait for one exporter, and the same again for plugins'
/// batches: as much as a busy service makes in 30 s, and little beside the queue.
const WAITING_BYTES: usize = 32 << 20;

/// A token that holds back a sender's answer until nothing of its batch waits for room any more,
/// which is when all clones are gone.
#[derive(Clone, Debug)]
pub(crate) struct AnswerHold {
    _released: Arc<oneshot::Sender<()>>,
}

impl AnswerHold {
    pub(crate) fn new() -> (Self, oneshot::Receiver<()>) {
        let (sender, released) = oneshot::channel();
        let sender = Arc::new(sender);
        (Self { _released: sender }, released)
    }
}

/// A place for one batch in a waiting room. Parts of the batch share it.
#[derive(Clone, Debug)]
pub(crate) struct Seat {
    class: RoomClass,
    until: Instant,
    _room: Arc<BoundPermit>,
}

impl Seat {
    pub(super) fn class(&self) -> RoomClass {
        self.class
    }
}

/// A batch that waits.
#[derive(Debug)]
struct WaitingBatch {
    batch: Batch,
    seat: Seat,
    _hold: Option<AnswerHold>,
}

/// The waiting room of one class of a queue.
#[derive(Debug)]
pub(super) struct WaitingRoom {
    class: RoomClass,
    kib: Arc<AdjustableBound>,
    waiting: Mutex<VecDeque<WaitingBatch>>,
    arrived: Notify,
    closed: AtomicBool,
}

impl WaitingRoom {
    pub(super) fn new(class: RoomClass) -> Self {
        Self {
            class,
            kib: AdjustableBound::new(WAITING_BYTES / BYTES_UNIT),
            waiting: Mutex::default(),
            arrived: Notify::new(),
            closed: AtomicBool::new(false),
        }
    }

    pub(super) fn class(&self) -> RoomClass {
        self.class
    }

    /// Bytes that are taken, rounded up.
    pub(super) fn bytes(&self) -> usize {
        self.kib.taken() * BYTES_UNIT
    }

    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.arrived.notify_one();
    }

    pub(super) fn clear(&self) {
        let left = std::mem::take(&mut *self.lock());
        drop(left);
    }

    /// Takes a place now, or not at all. A batch longer than the room takes all of it.
    pub(super) fn seat(&self, bytes: usize, until: Instant) -> Option<Seat> {
        let kib = bytes
            .div_ceil(BYTES_UNIT)
            .clamp(1, WAITING_BYTES / BYTES_UNIT);
        let room = self.kib.try_take(u32::try_from(kib).ok()?)?;
        Some(Seat {
            class: self.class,
            until,
            _room: Arc::new(room),
        })
    }

    /// Puts a batch into its place. The answer to its sender waits for `hold`.
    pub(super) fn push(&self, batch: Batch, seat: Seat, hold: Option<AnswerHold>) {
        self.lock().push_back(WaitingBatch {
            batch,
            seat,
            _hold: hold,
        });
        self.arrived.notify_one();
    }

    /// Returns the batch that has waited longest, or `None` if the room is closed and empty.
    async fn next(&self) -> Option<WaitingBatch> {
        loop {
            // Read before the batches are looked at: a push before `close` is then always seen.
            let closed = self.closed.load(Ordering::Acquire);
            if let Some(waiting) = self.lock().pop_front() {
                return Some(waiting);
            }
            if closed {
                return None;
            }
            self.arrived.notified().await;
        }
    }

    /// Moves waiting batches into the queue, in order, as there is room. A batch that has waited
    /// for too long is given to `late`. Ends when the room is closed and empty. If it is cancelled,
    /// it drops the batch that it is working on.
    pub(super) async fn empty_into(&self, queue: &Queue, late: &(impl Fn(Batch) + Sync)) {
        while let Some(WaitingBatch {
            batch,
            seat,
            _hold: hold,
        }) = self.next().await
        {
            let room = queue.reserve(self.class, batch.items(), batch.bytes.len());
            match timeout_at(seat.until, room).await {
                Ok(Some(permit)) => queue.push(QueuedBatch { batch, permit }),
                Ok(None) | Err(_) => late(batch),
            }
            drop((seat, hold));
        }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<WaitingBatch>> {
        self.waiting.lock()
    }
}
