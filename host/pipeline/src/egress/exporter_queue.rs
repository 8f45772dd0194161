//! The queue of one exporter: in memory and, in a durable pipeline, on the disk behind that.

use std::sync::Arc;

use tokio::time::Instant;

use super::disk::DiskQueue;
use super::memory::MemoryQueue;
use crate::batch::Batch;
use crate::batcher::OutgoingRequest;
use crate::queue::{AnswerHold, Permit, Queue, QueueFill, QueuedBatch, RoomClass, Seat};

/// The queue of one exporter: in memory and, in a durable pipeline, on the disk behind that.
#[derive(Debug)]
pub(super) struct ExporterQueue {
    memory: Arc<MemoryQueue>,
    disk: Option<Arc<DiskQueue>>,
}

impl ExporterQueue {
    /// Makes the queue. Batches on the disk go through this memory from now on.
    pub(super) fn new(memory: Arc<Queue>, disk: Option<Arc<DiskQueue>>) -> Self {
        let memory = Arc::new(MemoryQueue::new(memory));
        if let Some(disk) = &disk {
            disk.lead_to(Arc::downgrade(&memory));
        }
        Self { memory, disk }
    }

    pub(super) fn memory(&self) -> &Arc<Queue> {
        self.memory.queue()
    }

    pub(super) fn has_disk(&self) -> bool {
        self.disk.is_some()
    }

    /// Takes room now, or not at all. A batch has to queue up behind those on the disk.
    pub(super) fn try_reserve(&self, class: RoomClass, items: u64, bytes: usize) -> Option<Permit> {
        let Some(disk) = &self.disk else {
            return self.memory().try_reserve(class, items, bytes);
        };
        let in_memory = match disk.has_backlog() {
            true => None,
            false => self.memory().try_reserve(class, items, bytes),
        };
        let to_disk = || Some(disk.room().try_reserve(class, items, bytes)?.for_disk());
        in_memory.or_else(to_disk)
    }

    /// Waits for room. The caller bounds the wait.
    pub(super) async fn reserve(
        &self,
        class: RoomClass,
        items: u64,
        bytes: usize,
    ) -> Option<Permit> {
        let Some(disk) = &self.disk else {
            return self.memory().reserve(class, items, bytes).await;
        };
        tokio::select! {
            biased;
            in_memory = self.memory().reserve(class, items, bytes), if !disk.has_backlog() => in_memory,
            to_disk = disk.room().reserve(class, items, bytes) => Some(to_disk?.for_disk()),
        }
    }

    /// Puts a batch into the memory, or behind the batches on the disk.
    pub(super) fn push(&self, batch: QueuedBatch) {
        match &self.disk {
            Some(disk) if batch.permit.is_for_disk() || disk.has_backlog() => {
                disk.push(OutgoingRequest::from(batch));
            }
            _ => self.memory().push(batch),
        }
    }

    /// Takes a place in the waiting room, if there is one.
    pub(super) fn seat(&self, class: RoomClass, bytes: usize, until: Instant) -> Option<Seat> {
        self.memory().seat(class, bytes, until)
    }

    /// Puts a batch into its place in the waiting room. The answer to its sender waits for `hold`.
    pub(super) fn put_to_wait(&self, batch: Batch, seat: Seat, hold: Option<AnswerHold>) {
        self.memory().put_to_wait(batch, seat, hold);
    }

    /// Returns the fill of the memory, including the way to the disk.
    pub(super) fn fill(&self) -> QueueFill {
        let mut fill = self.memory().fill();
        if let Some(disk) = &self.disk {
            fill.bytes += disk.room().fill().bytes;
        }
        fill
    }
}
