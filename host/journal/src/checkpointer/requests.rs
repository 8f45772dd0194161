//! The requests for checkpoints of a log.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

/// Requests to the keeper of a log.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    state: Mutex<CallState>,
    wake: Condvar,
    /// True if something is not in the last checkpoint, and the keeper knows.
    told: AtomicBool,
}

#[derive(Debug, Default)]
struct CallState {
    dirty: bool,
    marks: Vec<oneshot::Sender<io::Result<()>>>,
    stop: bool,
}

/// The next step of the keeper.
pub(crate) enum Call {
    /// Write a checkpoint, and tell these.
    Checkpoint(Vec<oneshot::Sender<io::Result<()>>>),
    Stop,
}

impl Calls {
    fn state(&self) -> MutexGuard<'_, CallState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that there is something for the next checkpoint.
    pub(crate) fn dirty(&self) {
        if !self.told.swap(true, Ordering::AcqRel) {
            self.state().dirty = true;
            self.wake.notify_one();
        }
    }

    /// Asks for the next checkpoint now. Returns false if no more are written.
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

    /// Ends the queue when no more checkpoints are written, and tells everyone who waits.
    pub(crate) fn abandon(&self) {
        self.stop();
        let marks = std::mem::take(&mut self.state().marks);
        drop(marks);
    }

    /// Waits for something to do, and then for `pause` to collect more, unless someone waits.
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
