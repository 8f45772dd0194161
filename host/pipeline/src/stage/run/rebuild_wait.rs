//! The wait before a failed plugin is instantiated again.

use std::time::Duration;

use tokio::time::Instant;

/// The wait before the second rebuild in a row; each further rebuild doubles it. The first rebuild
/// is immediate: a plugin that fails on one batch must not miss the next.
const FIRST_REBUILD_WAIT: Duration = Duration::from_millis(10);
/// The longest wait before a rebuild; beyond it the breaker takes over.
const LONGEST_REBUILD_WAIT: Duration = Duration::from_secs(1);

/// Decides when a lost instance may be made again: the wait grows with the faults in a row.
#[derive(Debug)]
pub(super) struct RebuildWait {
    faults_in_a_row: u32,
    until: Instant,
}

impl RebuildWait {
    pub(super) fn new() -> Self {
        Self {
            faults_in_a_row: 0,
            until: Instant::now(),
        }
    }

    /// Returns true if a lost instance may be made again.
    pub(super) fn is_over(&self) -> bool {
        Instant::now() >= self.until
    }

    /// Counts a call that succeeded.
    pub(super) fn success(&mut self) {
        self.faults_in_a_row = 0;
    }

    /// Counts a call that failed, and begins the wait that follows it.
    pub(super) fn fault(&mut self) {
        self.faults_in_a_row = self.faults_in_a_row.saturating_add(1);
        self.until = Instant::now() + self.wait();
    }

    fn wait(&self) -> Duration {
        match self.faults_in_a_row.checked_sub(2) {
            None => Duration::ZERO,
            Some(doublings) => FIRST_REBUILD_WAIT
                .saturating_mul(1 << doublings.min(16))
                .min(LONGEST_REBUILD_WAIT),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first rebuild is immediate; later ones wait longer and longer, up to the limit.
    #[tokio::test(start_paused = true)]
    async fn rebuilds_wait_longer() {
        let mut rebuild = RebuildWait::new();
        let waits = (0..12).map(|_| {
            rebuild.fault();
            rebuild.wait().as_millis()
        });
        assert_eq!(
            waits.collect::<Vec<_>>(),
            [0, 10, 20, 40, 80, 160, 320, 640, 1000, 1000, 1000, 1000]
        );
        assert!(!rebuild.is_over());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(rebuild.is_over());
        rebuild.success();
        rebuild.fault();
        assert!(rebuild.is_over());
    }
}
