//! A stage's breaker, which keeps batches from a plugin that fails often.

use std::time::Duration;

use tokio::time::Instant;

use crate::stage::spec::BreakerConfig;

/// The state of a breaker, which decides about the next batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BreakerState {
    /// Call the plugin.
    Closed,
    /// Call the plugin with this one batch to test whether it works again.
    HalfOpen,
    /// Do not call the plugin.
    Open,
}

/// The breaker of one stage on one shard.
#[derive(Debug)]
pub(super) struct Breaker {
    config: BreakerConfig,
    /// The start of the current window, and the faults in it.
    window: (Instant, u32),
    open_until: Option<Instant>,
    open_for: Duration,
}

impl Breaker {
    pub(super) fn new(config: BreakerConfig) -> Self {
        let open_for = config.open_for;
        Self {
            config,
            window: (Instant::now(), 0),
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

    pub(super) fn state(&self) -> BreakerState {
        match self.open_until {
            None => BreakerState::Closed,
            Some(until) if Instant::now() >= until => BreakerState::HalfOpen,
            Some(_) => BreakerState::Open,
        }
    }

    /// Counts a call that succeeded. Returns true if this closed an open breaker.
    pub(super) fn success(&mut self) -> bool {
        self.open_for = self.config.open_for;
        self.open_until.take().is_some()
    }

    /// Counts a call that failed. Returns the time for which the breaker is open now, if this
    /// opened it or opened it again.
    pub(super) fn fault(&mut self) -> Option<Duration> {
        let now = Instant::now();
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
        assert_eq!(breaker.state(), BreakerState::Closed);
        assert_eq!(breaker.fault(), Some(Duration::from_secs(1)));
        assert_eq!(breaker.state(), BreakerState::Open);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(breaker.state(), BreakerState::HalfOpen);
        assert_eq!(breaker.fault(), Some(Duration::from_secs(2)));
        assert_eq!(breaker.state(), BreakerState::Open);
        tokio::time::advance(Duration::from_secs(2)).await;
        assert!(breaker.success());
        assert_eq!(breaker.state(), BreakerState::Closed);
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
}
