//! The requests for checkpoints of a log.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};
use tokio::sync::oneshot;

/// A caller that waits for a checkpoint.
pub(crate) type Waiter = oneshot::Sender<io::Result<()>>;

/// The requests to the checkpointer of a log.
#[derive(Debug, Default)]
pub(crate) struct CheckpointRequests {
    state: Mutex<State>,
    wake: Condvar,
    /// True if something is not in the last checkpoint, and the checkpointer knows.
    signalled: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    dirty: bool,
    waiters: Vec<Waiter>,
    stopped: bool,
}

/// The next step of the checkpointer.
pub(crate) enum CheckpointerTask {
    /// Write a checkpoint, and tell these.
    Write(Vec<Waiter>),
    Stop,
}

impl CheckpointRequests {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Says that there is something for the next checkpoint.
    pub(crate) fn mark_dirty(&self) {
        if !self.signalled.swap(true, Ordering::AcqRel) {
            self.state().dirty = true;
            self.wake.notify_one();
        }
    }

    /// Asks for the next checkpoint now. Returns false if no more are written.
    pub(crate) fn request(&self, waiter: Waiter) -> bool {
        let mut state = self.state();
        if state.stopped {
            return false;
        }
        state.waiters.push(waiter);
        drop(state);
        self.wake.notify_one();
        true
    }

    /// Takes no more requests. The checkpointer still does those that it has.
    pub(crate) fn stop(&self) {
        self.state().stopped = true;
        self.wake.notify_one();
    }

    /// Takes no more requests, and tells everyone who waits that no checkpoint is written.
    pub(crate) fn abandon(&self) {
        self.stop();
        let waiters = std::mem::take(&mut self.state().waiters);
        drop(waiters);
    }

    /// Waits for something to do, and then for `pause` to collect more, unless someone waits.
    pub(crate) fn next(&self, pause: Duration) -> CheckpointerTask {
        let mut state = self.state();
        while !state.dirty && !state.stopped && state.waiters.is_empty() {
            self.wake.wait(&mut state);
        }
        let nobody_waits = |state: &mut State| !state.stopped && state.waiters.is_empty();
        self.wake.wait_while_for(&mut state, nobody_waits, pause);
        if state.stopped && state.waiters.is_empty() {
            return CheckpointerTask::Stop;
        }
        state.dirty = false;
        self.signalled.store(false, Ordering::Release);
        CheckpointerTask::Write(std::mem::take(&mut state.waiters))
    }
}
