//! Waits that grow between attempts to export.

use std::time::Duration;

use rand::Rng;
use tokio::time::Instant;

/// Exponential backoff with jitter, under the Collector's `retry_on_failure` names and defaults.
#[derive(Clone, Debug, PartialEq)]
pub struct RetryConfig {
    /// True if failed attempts are repeated.
    pub enabled: bool,
    /// The first wait.
    pub initial_interval: Duration,
    /// The longest wait.
    pub max_interval: Duration,
    /// The time, from the first attempt on, after which items are given up; zero for never.
    pub max_elapsed_time: Duration,
    /// The factor from each wait to the next.
    pub multiplier: f64,
    /// The share by which each wait is spread up and down, so that many senders do not come back at
    /// once.
    pub randomization_factor: f64,
}

impl Default for RetryConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            initial_interval: Duration::from_secs(5),
            max_interval: Duration::from_secs(30),
            max_elapsed_time: Duration::from_secs(300),
            multiplier: 1.5,
            randomization_factor: 0.5,
        }
    }
}

/// The longest wait that is granted to a backend that asks for one (RetryInfo): beyond this, asking
/// again costs less than a consumer that waits for days because of a mistaken number.
const LONGEST_WISH: Duration = Duration::from_secs(300);

/// The waits of one series of attempts.
#[derive(Debug)]
pub struct Backoff {
    config: RetryConfig,
    started: Instant,
    interval: Duration,
}

impl Backoff {
    /// Begins a series of attempts, and starts the clock of `max_elapsed_time`.
    pub fn new(config: RetryConfig) -> Self {
        let interval = config.initial_interval.min(config.max_interval);
        Self {
            config,
            started: Instant::now(),
            interval,
        }
    }

    /// Returns the wait before the next attempt, at least `least`; `None` if it would end after
    /// `max_elapsed_time`, or if retries are off.
    pub fn next_wait(&mut self, least: Option<Duration>) -> Option<Duration> {
        if !self.config.enabled {
            return None;
        }
        let spread = self.config.randomization_factor.clamp(0.0, 1.0);
        let factor = rand::rng().random_range(1.0 - spread..=1.0 + spread);
        let wait = self
            .interval
            .mul_f64(factor)
            .max(least.unwrap_or_default().min(LONGEST_WISH));
        let grown = self.interval.mul_f64(self.config.multiplier.max(1.0));
        self.interval = grown.min(self.config.max_interval);
        let limit = self.config.max_elapsed_time;
        let over = !limit.is_zero() && self.started.elapsed() + wait > limit;
        (!over).then_some(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Waits grow from the first interval to the longest, within the spread, and end with
    /// `max_elapsed_time`.
    #[tokio::test(start_paused = true)]
    async fn waits_grow_and_end() {
        let config = RetryConfig {
            max_elapsed_time: Duration::from_secs(60),
            ..RetryConfig::default()
        };
        let mut backoff = Backoff::new(config.clone());
        let mut interval = config.initial_interval;
        let mut waits = 0;
        while let Some(wait) = backoff.next_wait(None) {
            assert!(
                wait >= interval.mul_f64(0.499) && wait <= interval.mul_f64(1.501),
                "{wait:?} of {interval:?}"
            );
            interval = interval.mul_f64(1.5).min(config.max_interval);
            tokio::time::advance(wait).await;
            waits += 1;
        }
        assert!((3..=8).contains(&waits), "{waits} waits in a minute");
    }

    /// The wait that the backend asks for (RetryInfo) is the least wait.
    #[tokio::test(start_paused = true)]
    async fn honours_the_least_wait() {
        let config = RetryConfig {
            initial_interval: Duration::from_millis(1),
            ..RetryConfig::default()
        };
        let wait = Backoff::new(config).next_wait(Some(Duration::from_secs(7)));
        assert_eq!(wait, Some(Duration::from_secs(7)));
    }
}
