//! The batches that wait to be written.

use std::collections::VecDeque;
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};
use spandrel_pipeline::journal::AppendError;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::NewRecord;

/// KiB that wait for the next write of a log, or are in it: what a slow disk writes in a second.
pub(crate) const MAX_WAITING_KIB: u32 = 64 << 10;

/// Bytes of one write. The bound keeps its sync short; batches beyond it wait for the next write.
const MAX_GROUP_BYTES: usize = 8 << 20;

/// Records of one write. The reason for the bound is the same.
const MAX_GROUP_RECORDS: usize = 4096;

/// A batch whose sender waits for the answer.
#[derive(Debug)]
pub(crate) struct PendingAppend {
    /// The batch.
    pub(crate) record: NewRecord,
    /// The way of its LSN to the sender.
    pub(crate) answer: oneshot::Sender<Result<u64, AppendError>>,
    /// Its part of [`MAX_WAITING_KIB`].
    pub(crate) room: OwnedSemaphorePermit,
}

/// Batches that wait to be written. The permits of its entries bound its size.
#[derive(Debug, Default)]
pub(crate) struct AppendQueue {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Debug, Default)]
struct State {
    pending: VecDeque<PendingAppend>,
    closed: bool,
}

/// The next step of the writer's thread.
pub(crate) enum WriterTask {
    Append(Vec<PendingAppend>),
    /// Nothing came within the time.
    Timeout,
    Closed,
}

impl AppendQueue {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Adds a batch, unless the queue is closed.
    pub(crate) fn push(&self, append: PendingAppend) -> Result<(), AppendError> {
        let mut state = self.state();
        if state.closed {
            return Err(AppendError::Closed);
        }
        state.pending.push_back(append);
        drop(state);
        self.wake.notify_one();
        Ok(())
    }

    /// Refuses new batches. Batches that wait are still given out.
    pub(crate) fn close(&self) {
        self.state().closed = true;
        self.wake.notify_all();
    }

    /// Refuses new batches and gives none out: every sender that waits is told that the queue is
    /// closed.
    pub(crate) fn abandon(&self) {
        self.close();
        let pending = std::mem::take(&mut self.state().pending);
        drop(pending);
    }

    /// Returns everything that waits, up to the size of one write, and waits only for the first
    /// batch, at most `timeout`. It does not wait for a group to fill: the next group collects
    /// while one is written.
    pub(crate) fn next(&self, timeout: Option<Duration>) -> WriterTask {
        let mut state = self.state();
        while state.pending.is_empty() {
            if state.closed {
                return WriterTask::Closed;
            }
            if let Some(timeout) = timeout {
                let result = self.wake.wait_for(&mut state, timeout);
                if result.timed_out() && state.pending.is_empty() {
                    return WriterTask::Timeout;
                }
            } else {
                self.wake.wait(&mut state);
            }
        }
        let mut bytes = 0_usize;
        let fits = |append: &&PendingAppend| {
            let first = bytes == 0;
            let more = append.record.payload.len();
            bytes = bytes.saturating_add(more).max(1);
            first || bytes <= MAX_GROUP_BYTES
        };
        let pending = state.pending.iter().take(MAX_GROUP_RECORDS);
        let count = pending.take_while(fits).count();
        WriterTask::Append(state.pending.drain(..count).collect())
    }
}
