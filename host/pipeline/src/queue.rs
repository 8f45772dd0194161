//! An exporter's queue: bounded in its own unit and in bytes, at the same time.
//!
//! Room is taken at the door, before a batch runs through the stages, as a permit that is given
//! back when the batch's last attempt has ended. So a batch that was accepted always fits, a full
//! queue is known before any plugin has seen the batch, and what waits in the queue, in the batcher
//! and in attempts is bounded together.
//!
//! What plugins release or make has as much room again, of its own. It was accepted long ago and
//! can only wait, and if it waited for room that batches in front of it in the shards have taken,
//! neither would ever go on.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use crate::batch::Batch;

/// What `queue_size` counts.
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

/// The bounds of a queue, under the Collector's `sending_queue` names and defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueConfig {
    /// How much fits, in units of `sizer`.
    pub queue_size: usize,
    /// The unit of `queue_size`.
    pub sizer: Sizer,
    /// Whether the sender waits for room instead of being refused.
    pub block_on_overflow: bool,
    /// How many bytes fit, whatever `sizer` says: a bound on memory that does not depend on how
    /// large a sender's batches are.
    pub max_bytes: usize,
    /// Attempts to export that run at once.
    pub num_consumers: usize,
}

impl Default for QueueConfig {
    fn default() -> Self {
        Self {
            queue_size: 1000,
            sizer: Sizer::Requests,
            block_on_overflow: false,
            max_bytes: 128 << 20,
            num_consumers: 10,
        }
    }
}

/// How full a queue is, its batcher and its attempts included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueFill {
    /// Room taken by what senders sent, in units of the queue's sizer.
    pub size: usize,
    /// Room taken by what plugins released or made, and by what the journal replays, in the same
    /// units.
    pub released: usize,
    /// Room for each of these, in the same units.
    pub capacity: usize,
    /// Bytes taken, rounded up to KiB for each batch.
    pub bytes: usize,
}

/// Bytes are counted in KiB, so that the largest queue fits a semaphore's 32-bit permit counts.
const BYTES_UNIT: usize = 1 << 10;

/// Whose room a batch takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    /// A sender's, which can still be refused.
    Sent,
    /// A plugin's: released or made by it.
    Released,
    /// The journal's. It has room of its own because it takes it in front of the shards, as a
    /// sender's batch does, but may wait for as long as it must.
    Replayed,
}

/// The room of one lane.
#[derive(Debug)]
struct Room {
    units: Arc<Semaphore>,
    kib: Arc<Semaphore>,
}

impl Room {
    fn new(config: &QueueConfig) -> Self {
        let room = |size: usize| Arc::new(Semaphore::new(size.clamp(1, Semaphore::MAX_PERMITS)));
        Self {
            units: room(config.queue_size),
            kib: room(config.max_bytes / BYTES_UNIT),
        }
    }
}

/// Room for one batch in one queue. Parts of the batch share it; the last one gives it back.
#[derive(Clone, Debug)]
pub(crate) struct Permit {
    _room: Arc<(OwnedSemaphorePermit, OwnedSemaphorePermit)>,
    spills: bool,
}

impl Permit {
    fn new(units: OwnedSemaphorePermit, kib: OwnedSemaphorePermit) -> Self {
        Self {
            _room: Arc::new((units, kib)),
            spills: false,
        }
    }

    /// This is room on the way to the exporter's log, not in its queue.
    pub(crate) fn spilling(self) -> Self {
        Self {
            spills: true,
            ..self
        }
    }

    /// Whether the batch goes to the exporter's log.
    pub(crate) fn spills(&self) -> bool {
        self.spills
    }
}

/// A batch in the queue, with the room that it takes.
#[derive(Debug)]
pub(crate) struct Queued {
    pub batch: Batch,
    pub permit: Permit,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Queue {
    config: QueueConfig,
    sent: Room,
    released: Room,
    replayed: Room,
    waiting: Mutex<VecDeque<Queued>>,
    arrived: Notify,
    closed: AtomicBool,
}

impl Queue {
    pub(crate) fn new(config: QueueConfig) -> Self {
        Self {
            sent: Room::new(&config),
            released: Room::new(&config),
            replayed: Room::new(&config),
            config,
            waiting: Mutex::default(),
            arrived: Notify::new(),
            closed: AtomicBool::new(false),
        }
    }

    pub(crate) fn config(&self) -> &QueueConfig {
        &self.config
    }

    pub(crate) fn fill(&self) -> QueueFill {
        let capacity = self.config.queue_size.clamp(1, Semaphore::MAX_PERMITS);
        let kib = (self.config.max_bytes / BYTES_UNIT).clamp(1, Semaphore::MAX_PERMITS);
        let taken = |size: usize, room: &Semaphore| size.saturating_sub(room.available_permits());
        QueueFill {
            size: taken(capacity, &self.sent.units),
            released: taken(capacity, &self.released.units) + taken(capacity, &self.replayed.units),
            capacity,
            bytes: [&self.sent, &self.released, &self.replayed]
                .map(|room| taken(kib, &room.kib) * BYTES_UNIT)
                .iter()
                .sum(),
        }
    }

    /// Units and KiB that a batch takes: at least one of each, at most the whole queue, so that a
    /// batch larger than the queue goes through alone instead of never.
    fn weights(&self, items: u64, bytes: usize) -> (u32, u32) {
        let units = match self.config.sizer {
            Sizer::Requests => 1,
            Sizer::Items => usize::try_from(items).unwrap_or(usize::MAX),
            Sizer::Bytes => bytes,
        };
        let clamp = |weight: usize, most: usize| {
            u32::try_from(weight.clamp(1, most.max(1))).unwrap_or(u32::MAX)
        };
        let most_bytes = self.config.max_bytes / BYTES_UNIT;
        (
            clamp(units, self.config.queue_size),
            clamp(bytes.div_ceil(BYTES_UNIT), most_bytes),
        )
    }

    /// Takes a sender's room now, or not at all.
    pub(crate) fn try_reserve(&self, items: u64, bytes: usize) -> Option<Permit> {
        let (units, kib) = self.weights(items, bytes);
        let units = Arc::clone(&self.sent.units)
            .try_acquire_many_owned(units)
            .ok()?;
        let kib = Arc::clone(&self.sent.kib)
            .try_acquire_many_owned(kib)
            .ok()?;
        Some(Permit::new(units, kib))
    }

    /// Waits for room, in turn. The caller bounds the wait.
    pub(crate) async fn reserve(&self, lane: Lane, items: u64, bytes: usize) -> Option<Permit> {
        let (units, kib) = self.weights(items, bytes);
        let room = match lane {
            Lane::Sent => &self.sent,
            Lane::Released => &self.released,
            Lane::Replayed => &self.replayed,
        };
        let units = Arc::clone(&room.units)
            .acquire_many_owned(units)
            .await
            .ok()?;
        let kib = Arc::clone(&room.kib).acquire_many_owned(kib).await.ok()?;
        Some(Permit::new(units, kib))
    }

    /// Adds a batch for which room was taken.
    pub(crate) fn push(&self, queued: Queued) {
        self.lock().push_back(queued);
        self.arrived.notify_one();
    }

    /// Nothing more will be pushed: `pop` ends once the queue is empty.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.arrived.notify_one();
    }

    /// The oldest batch, or none when the queue is closed and empty. For one consumer.
    pub(crate) async fn pop(&self) -> Option<Queued> {
        loop {
            // Read before the queue is looked at: a push before `close` is then always seen.
            let closed = self.closed.load(Ordering::Acquire);
            if let Some(queued) = self.lock().pop_front() {
                return Some(queued);
            }
            if closed {
                return None;
            }
            self.arrived.notified().await;
        }
    }

    /// Lets go of everything that waits: it books itself as abandoned.
    pub(crate) fn clear(&self) {
        let left = std::mem::take(&mut *self.lock());
        drop(left);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<Queued>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
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
        let first = queue.try_reserve(500, 1000);
        let second = queue.try_reserve(500, 1000);
        assert!(first.is_some() && second.is_some());
        assert!(queue.try_reserve(1, 1).is_none());
        let part = first.clone();
        drop(first);
        assert!(
            queue.try_reserve(1, 1).is_none(),
            "a part still has the room"
        );
        drop(part);
        assert!(queue.try_reserve(1, 1).is_some());
    }

    /// Bytes bound the queue whatever its unit is.
    #[test]
    fn bytes_bound_every_sizer() {
        let queue = queue(1000, Sizer::Items, 10 << 10);
        let room = queue.try_reserve(1, 9 << 10);
        assert!(room.is_some());
        assert!(queue.try_reserve(1, 2 << 10).is_none());
        assert!(queue.try_reserve(1, 1 << 10).is_some());
    }

    /// A batch larger than the whole queue goes through alone instead of never.
    #[test]
    fn oversize_goes_alone() {
        let queue = queue(100, Sizer::Items, 10 << 10);
        let room = queue.try_reserve(5000, 1 << 20);
        assert!(room.is_some());
        assert!(queue.try_reserve(1, 1).is_none());
    }
}
