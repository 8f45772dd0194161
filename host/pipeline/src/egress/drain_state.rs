//! The shutdown of one exporter: its pipeline drains, or the exporter is retired. In a durable
//! pipeline, no batch waits for a backend then: batches that it does not take go to the log.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::exporter::Outcome;

/// The time after which a backend that takes nothing is not waited for any more: far inside any
/// deadline of a drain, and longer than a healthy one takes for a batch.
pub(super) const PATIENCE: Duration = Duration::from_secs(3);

/// The progress of one exporter's shutdown, which its attempts share. Clones share it, too.
#[derive(Clone, Debug)]
pub(super) struct DrainState {
    drain: watch::Receiver<bool>,
    retired: watch::Receiver<bool>,
    /// True if the backend last wanted another try, or took nothing at all.
    failed: Arc<AtomicBool>,
    /// The last time that it took something.
    took: watch::Sender<Option<Instant>>,
}

impl DrainState {
    pub(super) fn new(drain: watch::Receiver<bool>, retired: watch::Receiver<bool>) -> Self {
        Self {
            drain,
            retired,
            failed: Arc::default(),
            took: watch::Sender::new(None),
        }
    }

    fn has_begun(&self) -> bool {
        *self.drain.borrow() || *self.retired.borrow()
    }

    /// Resolves when the shutdown begins.
    pub(super) async fn begins(&self) {
        let (mut drain, mut retired) = (self.drain.clone(), self.retired.clone());
        // An error means that the pipeline is gone, and this task is about to be.
        tokio::select! {
            begun = drain.wait_for(|draining| *draining) => drop(begun),
            begun = retired.wait_for(|retired| *retired) => drop(begun),
        }
    }

    /// Notes how an attempt ended.
    pub(super) fn saw(&self, outcome: &Outcome) {
        let failed = matches!(outcome, Outcome::Retry { .. });
        if self.failed.load(Ordering::Relaxed) != failed {
            self.failed.store(failed, Ordering::Relaxed);
        }
        if !failed && self.has_begun() {
            self.took.send_replace(Some(Instant::now()));
        }
    }

    /// Returns true if another attempt is futile: the shutdown has begun, and the last attempt
    /// failed.
    pub(super) fn is_futile(&self) -> bool {
        self.failed.load(Ordering::Relaxed) && self.has_begun()
    }

    /// Resolves some time after the shutdown has begun, if the backend takes nothing meanwhile.
    pub(super) async fn lose_patience(&self) {
        self.begins().await;
        let begun = Instant::now();
        loop {
            let last = self.took.borrow().unwrap_or(begun).max(begun);
            if last.elapsed() >= PATIENCE {
                self.failed.store(true, Ordering::Relaxed);
                return;
            }
            tokio::time::sleep_until(last + PATIENCE).await;
        }
    }
}
