//! An exporter's queue: bounded in its own unit and in bytes, at the same time.
//!
//! Room is taken at admission, before a batch runs through the stages, as a permit that is given
//! back when the batch's last attempt has ended. So an accepted batch always fits, a full queue is
//! noticed before any plugin has seen the batch, and everything in the queue, in the batcher and in
//! attempts has one common bound.
//!
//! Batches that plugins release or make have as much room again, of their own. They were accepted
//! long ago and can only wait. If they waited for room that batches in front of them in the shards
//! have taken, neither would ever go on.
//!
//! An exporter that may overflow alone does not keep out a batch that others take: its copy of the
//! batch waits in the waiting room for a while, or is dropped.

mod room;
mod waiting;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

pub(crate) use self::room::Permit;
use self::room::{BYTES_UNIT, Room};
use self::waiting::WaitingRoom;
pub(crate) use self::waiting::{AnswerHold, OVERFLOW_WAIT, Seat};
use crate::batch::Batch;

/// The unit of `queue_size`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sizer {
    /// Batches, as they were accepted.
    #[default]
    Requests,
    /// Spans, data points, log records.
    Items,
    /// Bytes of the serialized requests.
    Bytes,
}

/// The fate of a batch for which an exporter's queue has no room, while other exporters take it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFull {
    /// It is dropped for this exporter alone, and counted.
    #[default]
    Drop,
    /// It is refused to its sender, for all exporters.
    Refuse,
}

/// The bounds of a queue, under the Collector's `sending_queue` names and defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueConfig {
    /// The size of the queue, in units of `sizer`.
    pub queue_size: usize,
    /// The unit of `queue_size`.
    pub sizer: Sizer,
    /// True if a batch waits for room before `on_full` applies.
    pub block_on_overflow: bool,
    /// The fate of a batch for which there is room only at other exporters. Nothing is ever dropped
    /// if a sender's OK means that all of it will arrive: with a journal, or with
    /// [`AckOn::Export`](crate::pipeline::AckOn::Export).
    pub on_full: OnFull,
    /// The size of the queue in bytes, whatever `sizer` says: a bound on memory that does not
    /// depend on how large a sender's batches are.
    pub max_bytes: usize,
    /// The number of attempts to export that run at once.
    pub num_consumers: usize,
}

impl Default for QueueConfig {
    fn default() -> Self {
        Self {
            queue_size: 1000,
            sizer: Sizer::Requests,
            block_on_overflow: false,
            on_full: OnFull::Drop,
            max_bytes: 128 << 20,
            num_consumers: 10,
        }
    }
}

/// The fill of a queue, including its batcher and its attempts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueFill {
    /// Room taken by senders' batches, in units of the queue's sizer.
    pub size: usize,
    /// Room taken by batches that plugins released or made, and that the journal replays, in the
    /// same units.
    pub released: usize,
    /// The capacity for `size` and for `released`, each, in the same units.
    pub capacity: usize,
    /// Bytes taken, rounded up to KiB for each batch.
    pub bytes: usize,
}

/// The class of room in a queue that a batch takes: that of its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RoomClass {
    /// A sender's batch, which can still be refused.
    Sent,
    /// A plugin's batch: the plugin released or made it.
    Released,
    /// The journal's batch. It has room of its own because it takes the room in front of the
    /// shards, as a sender's batch does, but may wait for as long as it must.
    Replayed,
}

/// A batch in the queue, with the room that it takes.
#[derive(Debug)]
pub(crate) struct QueuedBatch {
    pub batch: Batch,
    pub permit: Permit,
}

/// An exporter's queue: bounded in its own unit and in bytes, at the same time.
#[derive(Debug)]
pub(crate) struct Queue {
    config: watch::Sender<QueueConfig>,
    sent: Room,
    released: Room,
    replayed: Room,
    waiting_rooms: [WaitingRoom; 2],
    waiting: Mutex<VecDeque<QueuedBatch>>,
    arrived: Notify,
    closed: AtomicBool,
}

impl Queue {
    pub(crate) fn new(config: QueueConfig) -> Self {
        Self {
            sent: Room::new(&config),
            released: Room::new(&config),
            replayed: Room::new(&config),
            waiting_rooms: [RoomClass::Sent, RoomClass::Released].map(WaitingRoom::new),
            config: watch::Sender::new(config),
            waiting: Mutex::default(),
            arrived: Notify::new(),
            closed: AtomicBool::new(false),
        }
    }

    /// Sets other bounds from now on. Batches in the queue stay there, even beyond a smaller bound.
    /// Reservations that wait for room wait by the new bounds.
    pub(crate) fn resize(&self, after: QueueConfig) {
        self.config.send_if_modified(|before| {
            let changed = *before != after;
            if changed {
                for room in [&self.sent, &self.released, &self.replayed] {
                    room.resize(before, &after);
                }
                *before = after;
            }
            changed
        });
    }

    /// Returns true if batches wait for room.
    pub(crate) fn blocks(&self) -> bool {
        self.config.borrow().block_on_overflow
    }

    /// Returns true if a batch that finds no room is refused to its sender.
    pub(crate) fn refuses(&self) -> bool {
        self.config.borrow().on_full == OnFull::Refuse
    }

    pub(crate) fn fill(&self) -> QueueFill {
        let classes = [&self.sent, &self.released, &self.replayed];
        let kib: usize = classes.map(|room| room.kib().taken()).iter().sum();
        let waiting_bytes: usize = self.waiting_rooms.iter().map(WaitingRoom::bytes).sum();
        QueueFill {
            size: self.sent.units().taken(),
            released: self.released.units().taken() + self.replayed.units().taken(),
            capacity: self.config.borrow().queue_size.max(1),
            bytes: kib * BYTES_UNIT + waiting_bytes,
        }
    }

    /// Returns the units and KiB that a batch takes: at least one of each, at most the whole queue,
    /// so that a batch larger than the queue goes through alone instead of never.
    fn weights(&self, items: u64, bytes: usize) -> (u32, u32) {
        let config = self.config.borrow();
        let units = match config.sizer {
            Sizer::Requests => 1,
            Sizer::Items => usize::try_from(items).unwrap_or(usize::MAX),
            Sizer::Bytes => bytes,
        };
        let clamp = |weight: usize, most: usize| {
            u32::try_from(weight.clamp(1, most.max(1))).unwrap_or(u32::MAX)
        };
        let most_bytes = config.max_bytes / BYTES_UNIT;
        (
            clamp(units, config.queue_size),
            clamp(bytes.div_ceil(BYTES_UNIT), most_bytes),
        )
    }

    fn room(&self, class: RoomClass) -> &Room {
        match class {
            RoomClass::Sent => &self.sent,
            RoomClass::Released => &self.released,
            RoomClass::Replayed => &self.replayed,
        }
    }

    /// Takes room now, or not at all.
    pub(crate) fn try_reserve(&self, class: RoomClass, items: u64, bytes: usize) -> Option<Permit> {
        let (units, kib) = self.weights(items, bytes);
        let room = self.room(class);
        let units = room.units().try_take(units)?;
        let kib = room.kib().try_take(kib)?;
        Some(Permit::new(units, kib))
    }

    /// Waits for room, in turn. The caller bounds the wait.
    pub(crate) async fn reserve(
        &self,
        class: RoomClass,
        items: u64,
        bytes: usize,
    ) -> Option<Permit> {
        let mut config = self.config.subscribe();
        let room = self.room(class);
        loop {
            config.borrow_and_update();
            let (units, kib) = self.weights(items, bytes);
            let taken = async {
                let units = room.units().take(units).await?;
                let kib = room.kib().take(kib).await?;
                Some(Permit::new(units, kib))
            };
            tokio::select! {
                biased;
                permit = taken => return permit,
                // By the old bounds, the room it waits for may never come. `changed` cannot fail:
                // its sender is this queue.
                changed = config.changed() => changed.ok()?,
            }
        }
    }

    /// Adds a batch for which room was taken.
    pub(crate) fn push(&self, batch: QueuedBatch) {
        self.lock().push_back(batch);
        self.arrived.notify_one();
    }

    /// Closes the queue to new batches. Once nothing waits, and the queue is empty, `pop` ends.
    /// That needs [`Queue::admit_waiting`] to run.
    pub(crate) fn close(&self) {
        self.waiting_rooms.iter().for_each(WaitingRoom::close);
    }

    /// Marks that nothing more will be pushed.
    fn end(&self) {
        self.closed.store(true, Ordering::Release);
        self.arrived.notify_one();
    }

    /// Returns the oldest batch, or `None` if the queue is closed and empty. For one consumer.
    pub(crate) async fn pop(&self) -> Option<QueuedBatch> {
        loop {
            // Read before the queue is looked at: a push before `close` is then always seen.
            let closed = self.closed.load(Ordering::Acquire);
            if let Some(batch) = self.lock().pop_front() {
                return Some(batch);
            }
            if closed {
                return None;
            }
            self.arrived.notified().await;
        }
    }

    /// Lets go of everything that waits. Its tallies book it as abandoned.
    pub(crate) fn clear(&self) {
        self.waiting_rooms.iter().for_each(WaitingRoom::clear);
        let left = std::mem::take(&mut *self.lock());
        drop(left);
    }

    /// Takes a place in the waiting room of this class, now, for a batch that finds no room; `None`
    /// for a replayed batch, which waits in the journal.
    pub(crate) fn seat(&self, class: RoomClass, bytes: usize, until: Instant) -> Option<Seat> {
        self.waiting_room(class)?.seat(bytes, until)
    }

    /// Puts a batch into its place to wait. The answer to its sender waits for `hold`.
    pub(crate) fn put_to_wait(&self, batch: Batch, seat: Seat, hold: Option<AnswerHold>) {
        if let Some(room) = self.waiting_room(seat.class()) {
            room.push(batch, seat, hold);
        }
    }

    /// Moves waiting batches into the queue, until the queue is closed and the last one has its
    /// place or was given to `late`. Without this task no waiting batch goes on, and the queue does
    /// not end.
    pub(crate) async fn admit_waiting(&self, late: impl Fn(Batch) + Sync) {
        let [sent, released] = &self.waiting_rooms;
        tokio::join!(
            sent.empty_into(self, &late),
            released.empty_into(self, &late)
        );
        self.end();
    }

    fn waiting_room(&self, class: RoomClass) -> Option<&WaitingRoom> {
        self.waiting_rooms.iter().find(|room| room.class() == class)
    }

    fn lock(&self) -> parking_lot::MutexGuard<'_, VecDeque<QueuedBatch>> {
        self.waiting.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(queue_size: usize, sizer: Sizer, max_bytes: usize) -> Queue {
        Queue::new(QueueConfig {
            queue_size,
            sizer,
            max_bytes,
            ..QueueConfig::default()
        })
    }

    /// The queue never takes more than it has room for, and takes again once room is given back.
    #[test]
    fn full_is_full() {
        let queue = queue(2, Sizer::Requests, 1 << 20);
        let first = queue.try_reserve(RoomClass::Sent, 500, 1000);
        let second = queue.try_reserve(RoomClass::Sent, 500, 1000);
        assert!(first.is_some() && second.is_some());
        assert!(queue.try_reserve(RoomClass::Sent, 1, 1).is_none());
        let part = first.clone();
        drop(first);
        assert!(
            queue.try_reserve(RoomClass::Sent, 1, 1).is_none(),
            "a part still has the room"
        );
        drop(part);
        assert!(queue.try_reserve(RoomClass::Sent, 1, 1).is_some());
    }

    /// Bytes bound the queue whatever its unit is.
    #[test]
    fn bytes_bound_every_sizer() {
        let queue = queue(1000, Sizer::Items, 10 << 10);
        let room = queue.try_reserve(RoomClass::Sent, 1, 9 << 10);
        assert!(room.is_some());
        assert!(queue.try_reserve(RoomClass::Sent, 1, 2 << 10).is_none());
        assert!(queue.try_reserve(RoomClass::Sent, 1, 1 << 10).is_some());
    }

    /// A batch larger than the whole queue goes through alone instead of never.
    #[test]
    fn oversize_goes_alone() {
        let queue = queue(100, Sizer::Items, 10 << 10);
        let room = queue.try_reserve(RoomClass::Sent, 5000, 1 << 20);
        assert!(room.is_some());
        assert!(queue.try_reserve(RoomClass::Sent, 1, 1).is_none());
    }
}
