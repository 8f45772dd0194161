//! The batches that wait to be written.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use spandrel_pipeline::journal::Unwritten;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::writer::Batch;

/// KiB that wait for the next write of a log, or are in it: what a slow disk writes in a second.
pub(crate) const WAITING_KIB: u32 = 64 << 10;

/// Bytes of one write. The bound keeps its sync short; batches beyond it wait for the next write.
const GROUP_BYTES: usize = 8 << 20;

/// Records of one write. The reason for the bound is the same.
const GROUP_RECORDS: usize = 4096;

/// A batch whose sender waits for the answer.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) batch: Batch,
    pub(crate) answer: oneshot::Sender<Result<u64, Unwritten>>,
    /// Its part of [`WAITING_KIB`].
    pub(crate) room: OwnedSemaphorePermit,
}

/// Batches that wait to be written. The permits of its entries bound its size.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    state: Mutex<QueueState>,
    wake: Condvar,
}

#[derive(Debug, Default)]
struct QueueState {
    waiting: VecDeque<Waiting>,
    closed: bool,
}

/// The next step of the commit thread.
pub(crate) enum Next {
    Group(Vec<Waiting>),
    /// Nothing came within the time.
    Idle,
    Closed,
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a batch, unless the queue is closed.
    pub(crate) fn push(&self, waiting: Waiting) -> Result<(), Unwritten> {
        let mut state = self.state();
        if state.closed {
            return Err(Unwritten::Closed);
        }
        state.waiting.push_back(waiting);
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
        let waiting = std::mem::take(&mut self.state().waiting);
        drop(waiting);
    }

    /// Returns everything that waits, up to the size of one write, and waits only for the first
    /// batch, at most `patience`. It does not wait for a group to fill: the next group collects
    /// while one is written.
    pub(crate) fn next(&self, patience: Option<Duration>) -> Next {
        let mut state = self.state();
        while state.waiting.is_empty() {
            if state.closed {
                return Next::Closed;
            }
            if let Some(patience) = patience {
                let waited = self.wake.wait_timeout(state, patience);
                let (now, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
                state = now;
                if timeout.timed_out() && state.waiting.is_empty() {
                    return Next::Idle;
                }
            } else {
                let waited = self.wake.wait(state);
                state = waited.unwrap_or_else(PoisonError::into_inner);
            }
        }
        let mut bytes = 0_usize;
        let fits = |waiting: &&Waiting| {
            let first = bytes == 0;
            bytes = bytes.saturating_add(waiting.batch.bytes.len()).max(1);
            first || bytes <= GROUP_BYTES
        };
        let count = state
            .waiting
            .iter()
            .take(GROUP_RECORDS)
            .take_while(fits)
            .count();
        let group = state.waiting.drain(..count).collect();
        Next::Group(group)
    }
}
