//! The facts that an exporter has learned of its backend: the longest request that it takes, and
//! whether it takes anything at all.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;

/// The time after which a limit is learned anew: a backend may have been given a larger one
/// meanwhile. To find that out costs one refused request.
const FORGET: Duration = Duration::from_secs(600);

/// The lowest limit that is believed: smaller requests cost more than their content.
const LEAST_BYTES: usize = 16 << 10;

/// The facts learned of one backend. There is one value for each exporter of a pipeline; its
/// attempts share it.
#[derive(Debug)]
pub(crate) struct BackendFacts {
    exporter: String,
    size: Mutex<Size>,
    refuses_all: AtomicBool,
}

#[derive(Debug, Default)]
struct Size {
    /// The longest request that is sent, in bytes, and the time until which that holds.
    most: Option<(usize, Instant)>,
    /// The limit that the log was told last.
    told: Option<usize>,
}

impl BackendFacts {
    pub(crate) fn new(exporter: String) -> Self {
        Self {
            exporter,
            size: Mutex::default(),
            refuses_all: AtomicBool::new(false),
        }
    }

    /// Returns the longest request that the backend takes, in bytes, as far as is known.
    pub(crate) fn most_bytes(&self) -> usize {
        let mut size = self.size();
        match size.most {
            Some((most, until)) if Instant::now() < until => most,
            Some(_) => {
                size.most = None;
                usize::MAX
            }
            None => usize::MAX,
        }
    }

    /// Learns from a backend that refused a request of `bytes` as too long, and perhaps said what
    /// it takes. Without a usable figure, half of the refused length is tried next.
    pub(super) fn refused(&self, bytes: usize, said: Option<usize>, error: &str) {
        let most = said.filter(|said| *said < bytes).unwrap_or(bytes / 2);
        if most < LEAST_BYTES {
            return;
        }
        let mut size = self.size();
        let now = Instant::now();
        let before = size.most.filter(|(_, until)| now < *until);
        // A refusal of a request from before the limit was known says nothing new.
        let most = before.map_or(most, |(before, _)| before.min(most));
        size.most = Some((most, now + FORGET));
        if size.told.is_none() {
            tracing::warn!(
                exporter = %self.exporter, max_bytes = most, error,
                "backend refuses requests of this size, larger ones are cut from now on"
            );
            size.told = Some(most);
        } else if before.is_none_or(|(before, _)| before != most) {
            tracing::debug!(exporter = %self.exporter, max_bytes = most, "requests are cut to this size");
            size.told = Some(most);
        }
    }

    /// Learns that the backend took a request of `bytes`.
    pub(super) fn took(&self, bytes: usize) {
        if self.refuses_all.load(Ordering::Relaxed) {
            self.refuses_all.store(false, Ordering::Relaxed);
        }
        let mut size = self.size();
        if size.told.is_some_and(|told| bytes > told) && size.most.is_none() {
            tracing::info!(exporter = %self.exporter, bytes, "backend takes larger requests again");
            size.told = None;
        }
    }

    /// Returns true if all parts of the last request that was taken apart were refused: then the
    /// next one is hardly at fault.
    pub(super) fn refuses_all(&self) -> bool {
        self.refuses_all.load(Ordering::Relaxed)
    }

    /// Learns that all parts of a request were refused.
    pub(super) fn refused_all(&self) {
        self.refuses_all.store(true, Ordering::Relaxed);
    }

    fn size(&self) -> MutexGuard<'_, Size> {
        self.size.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A limit that the backend names counts; without a figure, halves are tried; limits are
    /// forgotten after a while.
    #[tokio::test(start_paused = true)]
    async fn limits_are_learned_and_forgotten() {
        let facts = BackendFacts::new("backend".to_owned());
        assert_eq!(facts.most_bytes(), usize::MAX);
        facts.refused(6 << 20, Some(4 << 20), "too long");
        assert_eq!(facts.most_bytes(), 4 << 20);
        // This request was on its way already.
        facts.refused(9 << 20, None, "too long");
        assert_eq!(facts.most_bytes(), 4 << 20);
        facts.refused(3 << 20, None, "too long");
        assert_eq!(facts.most_bytes(), 3 << 19);
        // The backend gives a figure that cannot be right, and then a limit for something other
        // than requests.
        facts.refused(1 << 20, Some(2 << 20), "too long");
        assert_eq!(facts.most_bytes(), 1 << 19);
        facts.refused(1 << 19, Some(256), "too long");
        assert_eq!(facts.most_bytes(), 1 << 19);
        tokio::time::advance(FORGET).await;
        assert_eq!(facts.most_bytes(), usize::MAX);
        facts.took(6 << 20);
        assert_eq!(facts.size().told, None, "the next limit is told");
    }
}
