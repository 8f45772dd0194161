//! Wakes the thread that watches. Several events while it is busy count as one.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use parking_lot::{Condvar, Mutex, MutexGuard};
use spandrel_supply::Digest;
use tokio::time::Instant;

/// The signal that the system's events and the owner give.
#[derive(Debug, Default)]
pub(crate) struct WakeSignal {
    state: Mutex<State>,
    pending: Condvar,
}

#[derive(Debug, Default)]
struct State {
    pending: WakeReasons,
    /// The paths whose events wake the thread.
    matter: BTreeSet<PathBuf>,
}

/// The events since the last wait.
#[derive(Debug, Default)]
pub(crate) struct WakeReasons {
    /// True if the thread must end.
    pub(crate) stop: bool,
    /// Other files to watch.
    pub(crate) files: Option<BTreeMap<PathBuf, Option<Digest>>>,
    /// True if something may have changed.
    pub(crate) touched: bool,
}

impl WakeReasons {
    fn is_silent(&self) -> bool {
        !self.stop && !self.touched && self.files.is_none()
    }
}

impl WakeSignal {
    pub(crate) fn stop(&self) {
        self.state().pending.stop = true;
        self.pending.notify_one();
    }

    pub(crate) fn set(&self, files: BTreeMap<PathBuf, Option<Digest>>) {
        self.state().pending.files = Some(files);
        self.pending.notify_one();
    }

    /// Makes events of these paths wake the thread from now on.
    pub(crate) fn listen_for(&self, paths: BTreeSet<PathBuf>) {
        self.state().matter = paths;
    }

    /// Wakes the thread if one of these paths matters, or if there are none: then the changed ones are
    /// not known.
    pub(crate) fn touch<'a>(&self, paths: impl IntoIterator<Item = &'a Path>) {
        let mut state = self.state();
        let mut paths = paths.into_iter().peekable();
        if paths.peek().is_none() || paths.any(|path| state.matter.contains(path)) {
            state.pending.touched = true;
            self.pending.notify_one();
        }
    }

    /// Waits until an event comes, and no longer than until `at`.
    pub(crate) fn wait(&self, at: Instant) -> WakeReasons {
        let left = at.saturating_duration_since(Instant::now());
        let mut state = self.state();
        self.pending
            .wait_while_for(&mut state, |state| state.pending.is_silent(), left);
        std::mem::take(&mut state.pending)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}
