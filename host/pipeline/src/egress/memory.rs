//! The part of an exporter's queue that is in memory.

use std::sync::Arc;

use crate::queue::Queue;

/// The queue in memory of one exporter. It is open while somebody has this who may still put a batch
/// into it, and closes by itself after that.
#[derive(Debug)]
pub(super) struct MemoryQueue(Arc<Queue>);

impl MemoryQueue {
    pub(super) fn new(queue: Arc<Queue>) -> Self {
        Self(queue)
    }

    pub(super) fn queue(&self) -> &Arc<Queue> {
        &self.0
    }
}

impl Drop for MemoryQueue {
    fn drop(&mut self) {
        self.0.close();
    }
}
