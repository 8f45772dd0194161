//! Values that are more than text: durations, numbers, booleans, words.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use serde_json::Value;

use super::Section;
use crate::key::Form;
use crate::text::{duration, scalar, size};

/// The resolution of timers. A shorter time would become one millisecond, or zero.
const CLOCK: Duration = Duration::from_millis(1);

/// The longest time that anybody waits for a plugin, or an orchestrator for the end of a process.
const HOUR: Duration = Duration::from_secs(3600);

impl Section<'_> {
    pub(crate) fn duration(&self, key: &'static str, default: Duration) -> Duration {
        self.ask_duration(key, CLOCK, None, true, Some(default));
        self.counted(key).unwrap_or(default)
    }

    /// Returns a duration that has no default. In the Collector, 0 means the same as no value for
    /// all of these keys.
    pub(crate) fn duration_opt(&self, key: &'static str) -> Option<Duration> {
        self.ask_duration(key, CLOCK, None, true, None);
        self.counted(key).filter(|duration| !duration.is_zero())
    }

    /// Returns a duration that is not zero.
    pub(crate) fn duration_positive(&self, key: &'static str, default: Duration) -> Duration {
        self.ask_duration(key, CLOCK, None, false, Some(default));
        self.positive(key, default)
    }

    /// Returns a duration that is not zero and at most an hour. `instead` is the remedy if it is
    /// longer.
    pub(crate) fn duration_to_an_hour(
        &self,
        key: &'static str,
        default: Duration,
        instead: &str,
    ) -> Duration {
        self.ask_duration(key, CLOCK, Some(HOUR), false, Some(default));
        let duration = self.positive(key, default);
        if duration > HOUR {
            self.wrong_key(key, "longer than an hour", instead);
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
        self.ask_duration(key, least, None, false, Some(default));
        let duration = self.of_any_length(key).unwrap_or(default);
        if duration.is_zero() {
            // Reports that the value must be longer than 0.
            return self.positive(key, default);
        }
        self.least(key, duration, (least, why)).unwrap_or(default)
    }

    /// Returns a duration that is at least `least`; `None` for 0, which is the default.
    pub(crate) fn duration_least_or_zero(
        &self,
        key: &'static str,
        (least, why): (Duration, &str),
    ) -> Option<Duration> {
        self.ask_duration(key, least, None, true, Some(Duration::ZERO));
        let duration = self.counted(key).filter(|duration| !duration.is_zero())?;
        self.least(key, duration, (least, why))
    }

    fn ask_duration(
        &self,
        key: &'static str,
        least: Duration,
        most: Option<Duration>,
        or_zero: bool,
        default: Option<Duration>,
    ) {
        self.ask(key, || {
            let form = Form::Duration {
                least,
                most,
                or_zero,
            };
            (form, default.map(|default| duration::shown(default).into()))
        });
    }

    fn positive(&self, key: &'static str, default: Duration) -> Duration {
        let duration = self.counted(key).unwrap_or(default);
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

    fn least(
        &self,
        key: &'static str,
        duration: Duration,
        (least, why): (Duration, &str),
    ) -> Option<Duration> {
        if duration < least {
            let shown = self.shown_duration(key, duration);
            let what = format!("{shown} would not be kept: {why}");
            self.wrong_key(key, what, format!("write at least {least:?}"));
            return None;
        }
        Some(duration)
    }

    /// Returns a duration that timers can count.
    fn counted(&self, key: &'static str) -> Option<Duration> {
        let duration = self.of_any_length(key)?;
        if !duration.is_zero() && duration < CLOCK {
            let shown = self.shown_duration(key, duration);
            let what = format!("{shown} is shorter than time is counted here");
            self.wrong_key(key, what, "write at least 1ms");
            return None;
        }
        Some(duration)
    }

    fn of_any_length(&self, key: &'static str) -> Option<Duration> {
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

    fn shown_duration(&self, key: &'static str, duration: Duration) -> String {
        let hidden = self.node(key).is_some_and(|node| node.hidden);
        if hidden {
            "this value".to_owned()
        } else {
            format!("{duration:?}")
        }
    }

    pub(crate) fn integer<T>(&self, key: &'static str, default: T, range: RangeInclusive<T>) -> T
    where
        T: TryFrom<i128> + PartialOrd + Display,
    {
        self.ask(key, || (integers(&range), json(&default)));
        self.whole_number(key, &range).unwrap_or(default)
    }

    /// Returns a whole number that has no default.
    pub(crate) fn integer_opt<T>(&self, key: &'static str, range: RangeInclusive<T>) -> Option<T>
    where
        T: TryFrom<i128> + PartialOrd + Display,
    {
        self.ask(key, || (integers(&range), None));
        self.whole_number(key, &range)
    }

    fn whole_number<T>(&self, key: &'static str, range: &RangeInclusive<T>) -> Option<T>
    where
        T: TryFrom<i128> + PartialOrd + Display,
    {
        let text = self.text(key, "a whole number")?;
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
            return None;
        };
        match T::try_from(number) {
            Ok(number) if range.contains(&number) => Some(number),
            _ => {
                let hidden = self.node(key).is_some_and(|node| node.hidden);
                let shown = if hidden {
                    "this value".to_owned()
                } else {
                    number.to_string()
                };
                self.wrong_key(key, format!("{shown} is out of range"), range_text());
                None
            }
        }
    }

    pub(crate) fn float(&self, key: &'static str, default: f64, range: RangeInclusive<f64>) -> f64 {
        self.ask(key, || {
            let (least, most) = (*range.start(), *range.end());
            (Form::Number { least, most }, Some(default.into()))
        });
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
        self.ask(key, || (Form::Boolean, Some(default.into())));
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

    /// Returns a number of bytes that is at least `least`, or the default.
    pub(crate) fn size(&self, key: &'static str, default: u64, least: u64) -> u64 {
        self.ask(key, || {
            (Form::Size { least }, Some(size::shown(default).into()))
        });
        self.parse(key, size::parse).unwrap_or(default)
    }

    /// Returns the value for one of a few words.
    pub(crate) fn choice<T: Copy + PartialEq>(
        &self,
        key: &'static str,
        default: T,
        choices: &[(&str, T)],
    ) -> T {
        self.ask(key, || words(choices, &default, true));
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

    /// Returns the value for one of a few words that may look like numbers. `instead` is the remedy
    /// for any other word.
    pub(crate) fn exact_choice<T: Copy + PartialEq>(
        &self,
        key: &'static str,
        default: T,
        choices: &[(&str, T)],
        instead: &str,
    ) -> T {
        self.ask(key, || words(choices, &default, false));
        let value = self.parse(key, |text| {
            let found = choices.iter().find(|(word, _)| *word == text);
            found
                .map(|(_, value)| *value)
                .ok_or_else(|| instead.to_owned())
        });
        value.unwrap_or(default)
    }
}

fn integers<T: Display>(range: &RangeInclusive<T>) -> Form {
    let end = |number: &T| json(number).unwrap_or_default();
    Form::Integer {
        least: end(range.start()),
        most: end(range.end()),
    }
}

/// Returns a number as JSON.
fn json(number: &impl Display) -> Option<Value> {
    serde_json::from_str(&number.to_string()).ok()
}

fn words<T: PartialEq>(
    choices: &[(&str, T)],
    default: &T,
    in_any_case: bool,
) -> (Form, Option<Value>) {
    let word = choices.iter().find(|(_, value)| value == default);
    let words = choices.iter().map(|(word, _)| (*word).to_owned()).collect();
    let form = Form::Words { words, in_any_case };
    (form, word.map(|(word, _)| (*word).into()))
}
