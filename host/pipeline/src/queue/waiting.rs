//! The waiting room of a queue: for admitted batches that find no room in the queue of one
//! exporter. They wait here for a while instead of delaying the other exporters' batches.
//!
//! Senders' batches and batches that plugins released each have a room of their own, bounded in
//! bytes. So neither waits for the other, and it makes no difference whether a sender is still
//! there.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, timeout_at};

use super::room::{BYTES_UNIT, Bound, Taken};
use super::{Lane, Queue, Queued};
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
pub(crate) struct Waits {
    _told: Arc<oneshot::Sender<()>>,
}

impl Waits {
    pub(crate) fn new() -> (Self, oneshot::Receiver<()>) {
        let (told, waits) = oneshot::channel();
        let told = Arc::new(told);
        (Self { _told: told }, waits)
    }
}

/// A place for one batch in a waiting room. Parts of the batch share it.
#[derive(Clone, Debug)]
pub(crate) struct Seat {
    lane: Lane,
    until: Instant,
    _room: Arc<Taken>,
}

/// A batch that waits.
#[derive(Debug)]
struct Aside {
    batch: Batch,
    seat: Seat,
    _waits: Option<Waits>,
}

/// The waiting room of one lane of a queue.
#[derive(Debug)]
pub(super) struct WaitingRoom {
    lane: Lane,
    kib: Arc<Bound>,
    waiting: Mutex<VecDeque<Aside>>,
    arrived: Notify,
    closed: AtomicBool,
}

impl WaitingRoom {
    pub(super) fn new(lane: Lane) -> Self {
        Self {
            lane,
            kib: Bound::new(WAITING_BYTES / BYTES_UNIT),
            waiting: Mutex::default(),
            arrived: Notify::new(),
            closed: AtomicBool::new(false),
        }
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
    fn seat(&self, bytes: usize, until: Instant) -> Option<Seat> {
        let kib = bytes
            .div_ceil(BYTES_UNIT)
            .clamp(1, WAITING_BYTES / BYTES_UNIT);
        let room = self.kib.try_take(u32::try_from(kib).ok()?)?;
        Some(Seat {
            lane: self.lane,
            until,
            _room: Arc::new(room),
        })
    }

    /// Returns the batch that has waited longest, or `None` if the room is closed and empty.
    async fn next(&self) -> Option<Aside> {
        loop {
            // Read before the batches are looked at: a push before `close` is then always seen.
            let closed = self.closed.load(Ordering::Acquire);
            if let Some(aside) = self.lock().pop_front() {
                return Some(aside);
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
    async fn lead(&self, queue: &Queue, late: &(impl Fn(Batch) + Sync)) {
        while let Some(Aside {
            batch,
            seat,
            _waits: told_when_dropped,
        }) = self.next().await
        {
            let room = queue.reserve(self.lane, batch.items(), batch.bytes.len());
            match timeout_at(seat.until, room).await {
                Ok(Some(permit)) => queue.push(Queued { batch, permit }),
                Ok(None) | Err(_) => late(batch),
            }
            drop((seat, told_when_dropped));
        }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Aside>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    /// Takes a place in the waiting room of this lane, now, for a batch that finds no room; `None`
    /// for a replayed batch, which waits in the journal.
    pub(crate) fn seat(&self, lane: Lane, bytes: usize, until: Instant) -> Option<Seat> {
        self.waiting_room(lane)?.seat(bytes, until)
    }

    /// Puts a batch into its place to wait. Its sender's answer waits for `waits`.
    pub(crate) fn put_aside(&self, batch: Batch, seat: Seat, waits: Option<Waits>) {
        let Some(room) = self.waiting_room(seat.lane) else {
            return;
        };
        room.lock().push_back(Aside {
            batch,
            seat,
            _waits: waits,
        });
        room.arrived.notify_one();
    }

    /// Moves waiting batches into the queue, until the queue is closed and the last one has its
    /// place or was given to `late`. Without this task no waiting batch goes on, and the queue does
    /// not end.
    pub(crate) async fn lead(&self, late: impl Fn(Batch) + Sync) {
        let [sent, released] = &self.aside;
        tokio::join!(sent.lead(self, &late), released.lead(self, &late));
        self.end();
    }

    fn waiting_room(&self, lane: Lane) -> Option<&WaitingRoom> {
        self.aside.iter().find(|room| room.lane == lane)
    }
}
