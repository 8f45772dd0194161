//! Values that are more than text: durations, numbers, booleans, words.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::Section;
use crate::text::{duration, scalar};

/// The resolution of timers. A shorter time would become one millisecond, or zero.
const CLOCK: Duration = Duration::from_millis(1);

impl Section<'_> {
    pub(crate) fn duration(&self, key: &'static str, default: Duration) -> Duration {
        self.duration_opt(key).unwrap_or(default)
    }

    pub(crate) fn duration_opt(&self, key: &'static str) -> Option<Duration> {
        let duration = self.duration_of_any_length(key)?;
        if !duration.is_zero() && duration < CLOCK {
            let shown = self.shown_duration(key, duration);
            let what = format!("{shown} is shorter than time is counted here");
            self.wrong_key(key, what, "write at least 1ms");
            return None;
        }
        Some(duration)
    }

    fn duration_of_any_length(&self, key: &'static str) -> Option<Duration> {
        let text = self.text(key, "a duration")?;
        let duration = duration::parse(text);
        if duration.is_none() {
            let shown = self.shown(key, text);
            let what = if text.bytes().all(|byte| byte.is_ascii_digit()) {
                format!("{shown} has no unit")
            } else {
                format!("{shown} is not a duration")
            };
            self.wrong_key(key, what, "write one such as 200ms, 5s or 1h30m");
        }
        duration
    }

    /// Returns a duration. A value below `least` is a problem: it could not be met, for the reason
    /// `why`.
    pub(crate) fn duration_least(
        &self,
        key: &'static str,
        default: Duration,
        (least, why): (Duration, &str),
    ) -> Duration {
        let duration = self.duration_of_any_length(key).unwrap_or(default);
        if duration.is_zero() {
            // Reports that the value must be longer than 0.
            return self.duration_positive(key, default);
        }
        if duration < least {
            let shown = self.shown_duration(key, duration);
            let what = format!("{shown} would not be kept: {why}");
            self.wrong_key(key, what, format!("write at least {least:?}"));
            return default;
        }
        duration
    }

    fn shown_duration(&self, key: &'static str, duration: Duration) -> String {
        let hidden = self.node(key).is_some_and(|node| node.hidden);
        if hidden {
            "this value".to_owned()
        } else {
            format!("{duration:?}")
        }
    }

    /// Returns a duration that is not zero.
    pub(crate) fn duration_positive(&self, key: &'static str, default: Duration) -> Duration {
        let duration = self.duration(key, default);
        if duration.is_zero() {
            self.wrong_key(
                key,
                "must be longer than 0",
                "write a duration such as 200ms or 5s",
            );
            return default;
        }
        duration
    }

    pub(crate) fn integer<T>(&self, key: &'static str, default: T, range: RangeInclusive<T>) -> T
    where
        T: TryFrom<i128> + PartialOrd + Display,
    {
        let Some(text) = self.text(key, "a whole number") else {
            return default;
        };
        let range_text = || {
            format!(
                "write a whole number from {} to {}",
                range.start(),
                range.end()
            )
        };
        let Some(number) = scalar::integer(text) else {
            let what = format!("{} is not a whole number", self.shown(key, text));
            self.wrong_key(key, what, range_text());
            return default;
        };
        match T::try_from(number) {
            Ok(number) if range.contains(&number) => number,
            _ => {
                let hidden = self.node(key).is_some_and(|node| node.hidden);
                let shown = if hidden {
                    "this value".to_owned()
                } else {
                    number.to_string()
                };
                self.wrong_key(key, format!("{shown} is out of range"), range_text());
                default
            }
        }
    }

    pub(crate) fn float(&self, key: &'static str, default: f64, range: RangeInclusive<f64>) -> f64 {
        let Some(text) = self.text(key, "a number") else {
            return default;
        };
        match scalar::float(text) {
            Some(number) if range.contains(&number) => number,
            _ => {
                let instead = format!("write a number from {} to {}", range.start(), range.end());
                let what = format!("{} is not valid here", self.shown(key, text));
                self.wrong_key(key, what, instead);
                default
            }
        }
    }

    pub(crate) fn boolean(&self, key: &'static str, default: bool) -> bool {
        let Some(text) = self.text(key, "true or false") else {
            return default;
        };
        let value = scalar::boolean(text);
        if value.is_none() {
            let what = format!("{} is not a boolean", self.shown(key, text));
            self.wrong_key(key, what, "write true or false");
        }
        value.unwrap_or(default)
    }

    /// Returns the value for one of a few words.
    pub(crate) fn choice<T: Copy>(
        &self,
        key: &'static str,
        default: T,
        choices: &[(&str, T)],
    ) -> T {
        let Some(text) = self.text(key, "a word") else {
            return default;
        };
        let lower = text.to_ascii_lowercase();
        if let Some((_, value)) = choices.iter().find(|(word, _)| *word == lower) {
            return *value;
        }
        let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
        let instead = match words.as_slice() {
            [only] => format!("write {only}"),
            words => format!("write one of {}", words.join(", ")),
        };
        let what = format!("{} is not one of the choices", self.shown(key, text));
        self.wrong_key(key, what, instead);
        default
    }
}
