//! Limits repeated log lines.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// The time between two lines: often enough to see that a failure lasts.
const PAUSE: Duration = Duration::from_secs(10);

/// Lets a repeated log line through once in ten seconds.
#[derive(Debug, Default)]
pub(crate) struct LineLimiter(Mutex<Lines>);

#[derive(Debug, Default)]
struct Lines {
    last: Option<Instant>,
    held_back: u64,
}

impl LineLimiter {
    /// Returns the number of lines held back since the last one, if it is time for the next.
    pub(crate) fn next(&self) -> Option<u64> {
        let now = Instant::now();
        let mut lines = self.0.lock();
        if lines.last.is_some_and(|last| now - last < PAUSE) {
            lines.held_back += 1;
            return None;
        }
        lines.last = Some(now);
        Some(std::mem::take(&mut lines.held_back))
    }
}
