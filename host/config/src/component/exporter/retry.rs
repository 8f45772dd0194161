//! `retry_on_failure`: the settings for retries of failed attempts.

use spandrel_pipeline::backoff::RetryConfig;

use crate::text::section::Section;

pub(crate) fn read(section: &Section<'_>) -> RetryConfig {
    let default = RetryConfig::default();
    let retry = RetryConfig {
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
    if section.has("initial_interval") && retry.initial_interval > retry.max_interval {
        let what = format!(
            "{:?} is longer than max_interval, which is {:?}",
            retry.initial_interval, retry.max_interval
        );
        section.wrong_key(
            "initial_interval",
            what,
            "write a shorter one, or a longer max_interval",
        );
    }
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
