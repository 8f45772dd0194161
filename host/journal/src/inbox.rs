//! What waits for the threads of a log.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use spandrel_pipeline::journal::Unwritten;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::writer::Batch;

/// Bytes that wait for the next write of a log, or are in it: a slow disk's second.
pub(crate) const WAITING_KIB: u32 = 64 << 10;

/// Bytes of one write: what is behind it waits for the next, and its sync is not too long.
const GROUP_BYTES: usize = 8 << 20;

/// Records of one write, for the same reason.
const GROUP_RECORDS: usize = 4096;

/// A batch whose sender waits.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) batch: Batch,
    pub(crate) answer: oneshot::Sender<Result<u64, Unwritten>>,
    /// Its part of [`WAITING_KIB`].
    pub(crate) room: OwnedSemaphorePermit,
}

/// Batches that wait to be written. What is in it is bounded by the permits of its entries.
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

/// What the commit thread does next.
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

    /// Adds one, unless the queue is closed.
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

    /// Takes nothing more. What waits is still given out.
    pub(crate) fn close(&self) {
        self.state().closed = true;
        self.wake.notify_all();
    }

    /// Takes nothing more and gives nothing out: whoever waits is told that it is closed.
    pub(crate) fn abandon(&self) {
        self.close();
        let waiting = std::mem::take(&mut self.state().waiting);
        drop(waiting);
    }

    /// Everything that waits, up to the size of one write. Nobody is waited for: while one group
    /// is written the next comes together.
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

/// What the keeper of a log is asked for.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    state: Mutex<CallState>,
    wake: Condvar,
    /// Something is not in the last checkpoint, and the keeper knows.
    told: AtomicBool,
}

#[derive(Debug, Default)]
struct CallState {
    dirty: bool,
    marks: Vec<oneshot::Sender<io::Result<()>>>,
    stop: bool,
}

/// What the keeper does next.
pub(crate) enum Call {
    /// Write a checkpoint, and tell these.
    Checkpoint(Vec<oneshot::Sender<io::Result<()>>>),
    Stop,
}

impl Calls {
    fn state(&self) -> MutexGuard<'_, CallState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something is to be in the next checkpoint.
    pub(crate) fn dirty(&self) {
        if !self.told.swap(true, Ordering::AcqRel) {
            self.state().dirty = true;
            self.wake.notify_one();
        }
    }

    /// The next checkpoint is to be written now. False when nobody writes any more.
    pub(crate) fn mark(&self, done: oneshot::Sender<io::Result<()>>) -> bool {
        let mut state = self.state();
        if state.stop {
            return false;
        }
        state.marks.push(done);
        drop(state);
        self.wake.notify_one();
        true
    }

    pub(crate) fn stop(&self) {
        self.state().stop = true;
        self.wake.notify_one();
    }

    /// Nobody writes any more: whoever waits is told.
    pub(crate) fn abandon(&self) {
        self.stop();
        let marks = std::mem::take(&mut self.state().marks);
        drop(marks);
    }

    /// Waits for something to do, and then this long for more of it, unless somebody waits.
    pub(crate) fn next(&self, pause: Duration) -> Call {
        let mut state = self.state();
        while !state.dirty && !state.stop && state.marks.is_empty() {
            let waited = self.wake.wait(state);
            state = waited.unwrap_or_else(PoisonError::into_inner);
        }
        let nobody_waits = |state: &mut CallState| !state.stop && state.marks.is_empty();
        let waited = self.wake.wait_timeout_while(state, pause, nobody_waits);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if state.stop && state.marks.is_empty() {
            return Call::Stop;
        }
        state.dirty = false;
        self.told.store(false, Ordering::Release);
        Call::Checkpoint(std::mem::take(&mut state.marks))
    }
}
