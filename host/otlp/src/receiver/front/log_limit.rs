//! Log lines that anybody who reaches the port can cause: one a minute, with the number of those
//! left out.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// The time between two lines of one kind.
pub(super) const INTERVAL: Duration = Duration::from_secs(60);

/// Decides when a line of one kind is due.
#[derive(Debug, Default)]
pub(crate) struct LogLimit {
    last: Mutex<(Option<Instant>, u64)>,
}

impl LogLimit {
    /// Counts one occasion. If a line is due, returns how many occasions before it had none.
    pub(crate) fn due(&self) -> Option<u64> {
        let mut last = self.last.lock();
        let (logged, unlogged) = &mut *last;
        let now = Instant::now();
        if logged.is_some_and(|logged| now - logged < INTERVAL) {
            *unlogged += 1;
            return None;
        }
        *logged = Some(now);
        Some(std::mem::take(unlogged))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// There is one line a minute, with the number of occasions before it that had none.
    #[tokio::test(start_paused = true)]
    async fn lines_are_few() {
        let limit = LogLimit::default();
        assert_eq!(limit.due(), Some(0));
        for _ in 0..100 {
            assert_eq!(limit.due(), None);
        }
        tokio::time::advance(INTERVAL).await;
        assert_eq!(limit.due(), Some(100));
        assert_eq!(limit.due(), None);
    }
}
