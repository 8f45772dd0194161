//! A stage's breaker, and the wait before a failed plugin is instantiated again.

use std::time::Duration;

use tokio::time::Instant;

use crate::stage::spec::BreakerConfig;

/// The wait before the second rebuild in a row; each further rebuild doubles it. The first rebuild
/// is immediate: a plugin that fails on one batch must not miss the next.
const FIRST_REBUILD_WAIT: Duration = Duration::from_millis(10);
/// The longest wait before a rebuild; beyond it the breaker takes over.
const LONGEST_REBUILD_WAIT: Duration = Duration::from_secs(1);

/// The breaker's decision about the next batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gate {
    /// Call the plugin.
    Closed,
    /// Call the plugin with this one batch to test whether it works again.
    Probe,
    /// Do not call the plugin.
    Open,
}

/// The breaker of one stage on one shard.
#[derive(Debug)]
pub(super) struct Breaker {
    config: BreakerConfig,
    /// The start of the current window, and the faults in it.
    window: (Instant, u32),
    in_a_row: u32,
    open_until: Option<Instant>,
    open_for: Duration,
}

impl Breaker {
    pub(super) fn new(config: BreakerConfig) -> Self {
        let open_for = config.open_for;
        Self {
            config,
            window: (Instant::now(), 0),
            in_a_row: 0,
            open_until: None,
            open_for,
        }
    }

    /// Sets other limits from the next fault on. An open breaker stays open for the time it was
    /// given.
    pub(super) fn configure(&mut self, config: BreakerConfig) {
        self.open_for = match self.open_until {
            None => config.open_for,
            Some(_) => self.open_for.min(config.open_at_most),
        };
        self.config = config;
    }

    pub(super) fn gate(&self) -> Gate {
        match self.open_until {
            None => Gate::Closed,
            Some(until) if Instant::now() >= until => Gate::Probe,
            Some(_) => Gate::Open,
        }
    }

    /// Counts a call that succeeded. Returns true if this closed an open breaker.
    pub(super) fn success(&mut self) -> bool {
        self.in_a_row = 0;
        self.open_for = self.config.open_for;
        self.open_until.take().is_some()
    }

    /// Counts a call that failed. Returns the time for which the breaker is open now, if this
    /// opened it or opened it again.
    pub(super) fn fault(&mut self) -> Option<Duration> {
        let now = Instant::now();
        self.in_a_row = self.in_a_row.saturating_add(1);
        if now.duration_since(self.window.0) > self.config.window {
            self.window = (now, 0);
        }
        self.window.1 += 1;
        if self.open_until.is_none() && self.window.1 < self.config.faults {
            return None;
        }
        let open_for = self.open_for;
        self.open_until = Some(now + open_for);
        self.open_for = (open_for * 2).min(self.config.open_at_most);
        self.window = (now, 0);
        Some(open_for)
    }

    /// Returns the wait before the plugin is instantiated again, after the fault just counted.
    pub(super) fn rebuild_wait(&self) -> Duration {
        match self.in_a_row.checked_sub(2) {
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

    /// Enough faults in the window open the breaker, one probe is let through after the wait, a
    /// failed probe doubles the wait, and a successful one closes the breaker.
    #[tokio::test(start_paused = true)]
    async fn opens_probes_and_closes() {
        let mut breaker = Breaker::new(BreakerConfig::default());
        assert!((0..4).all(|_| breaker.fault().is_none()));
        assert_eq!(breaker.gate(), Gate::Closed);
        assert_eq!(breaker.fault(), Some(Duration::from_secs(1)));
        assert_eq!(breaker.gate(), Gate::Open);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(breaker.gate(), Gate::Probe);
        assert_eq!(breaker.fault(), Some(Duration::from_secs(2)));
        assert_eq!(breaker.gate(), Gate::Open);
        tokio::time::advance(Duration::from_secs(2)).await;
        assert!(breaker.success());
        assert_eq!(breaker.gate(), Gate::Closed);
    }

    /// Faults that are far apart never open the breaker.
    #[tokio::test(start_paused = true)]
    async fn rare_faults_do_not_open() {
        let mut breaker = Breaker::new(BreakerConfig::default());
        for _ in 0..50 {
            assert_eq!(breaker.fault(), None);
            tokio::time::advance(Duration::from_secs(4)).await;
        }
    }

    /// The first rebuild is immediate; later ones wait longer and longer, up to the limit.
    #[tokio::test(start_paused = true)]
    async fn rebuilds_wait_longer() {
        let mut breaker = Breaker::new(BreakerConfig::default());
        let waits = (0..12).map(|_| {
            breaker.fault();
            breaker.rebuild_wait().as_millis()
        });
        assert_eq!(
            waits.collect::<Vec<_>>(),
            [0, 10, 20, 40, 80, 160, 320, 640, 1000, 1000, 1000, 1000]
        );
    }
}
