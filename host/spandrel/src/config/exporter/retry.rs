//! `retry_on_failure`: how failed attempts are repeated.

use std::time::Duration;

use crate::config::section::Section;

/// How failed attempts are repeated.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Retry {
    /// Whether they are at all.
    pub enabled: bool,
    /// The first wait.
    pub initial_interval: Duration,
    /// The longest wait.
    pub max_interval: Duration,
    /// When to give up; zero for never.
    pub max_elapsed_time: Duration,
    /// How much longer each wait is than the one before.
    pub multiplier: f64,
    /// The share of each wait that is left to chance.
    pub randomization_factor: f64,
}

impl Default for Retry {
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

pub(crate) fn read(section: &Section<'_>) -> Retry {
    let default = Retry::default();
    let retry = Retry {
        enabled: section.boolean("enabled", default.enabled),
        initial_interval: section.duration_positive("initial_interval", default.initial_interval),
        max_interval: section.duration_positive("max_interval", default.max_interval),
        max_elapsed_time: section.duration("max_elapsed_time", default.max_elapsed_time),
        multiplier: section.float("multiplier", default.multiplier, 1.0..=100.0),
        randomization_factor: section.float(
            "randomization_factor",
            default.randomization_factor,
            0.0..=1.0,
        ),
    };
    let elapsed = retry.max_elapsed_time;
    if !elapsed.is_zero() && elapsed < retry.initial_interval {
        let what = format!(
            "{elapsed:?} is shorter than initial_interval, which is {:?}",
            retry.initial_interval
        );
        section.wrong_key(
            "max_elapsed_time",
            what,
            "write 0s for no end, or a longer time",
        );
    }
    retry
}
