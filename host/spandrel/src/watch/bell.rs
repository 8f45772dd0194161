//! How the thread that watches is woken: what rings while it is busy counts once.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use spandrel_plugin::artifact::Digest;
use tokio::time::Instant;

/// Rung by the system's events and by the owner.
#[derive(Debug, Default)]
pub(super) struct Bell {
    state: Mutex<State>,
    rung: Condvar,
}

#[derive(Debug, Default)]
struct State {
    rung: Rung,
    /// The paths whose events matter.
    matter: BTreeSet<PathBuf>,
}

/// What has happened since the last time.
#[derive(Debug, Default)]
pub(super) struct Rung {
    /// The end.
    pub(super) stop: bool,
    /// Other files are to be watched.
    pub(super) files: Option<BTreeMap<PathBuf, Option<Digest>>>,
    /// Something may have changed.
    pub(super) touched: bool,
}

impl Rung {
    fn is_silent(&self) -> bool {
        !self.stop && !self.touched && self.files.is_none()
    }
}

impl Bell {
    pub(super) fn stop(&self) {
        self.state().rung.stop = true;
        self.rung.notify_one();
    }

    pub(super) fn set(&self, files: BTreeMap<PathBuf, Option<Digest>>) {
        self.state().rung.files = Some(files);
        self.rung.notify_one();
    }

    /// From now on, events of these paths ring.
    pub(super) fn listen_for(&self, paths: BTreeSet<PathBuf>) {
        self.state().matter = paths;
    }

    /// Something happened to these paths; none when it is not known to which.
    pub(super) fn touch<'a>(&self, paths: impl IntoIterator<Item = &'a Path>) {
        let mut state = self.state();
        let mut paths = paths.into_iter().peekable();
        if paths.peek().is_none() || paths.any(|path| state.matter.contains(path)) {
            state.rung.touched = true;
            self.rung.notify_one();
        }
    }

    /// Waits until something rings, and no longer than until `at`.
    pub(super) fn wait(&self, at: Instant) -> Rung {
        let left = at.saturating_duration_since(Instant::now());
        let state = self.state();
        let waited = self
            .rung
            .wait_timeout_while(state, left, |state| state.rung.is_silent());
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut state.rung)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
