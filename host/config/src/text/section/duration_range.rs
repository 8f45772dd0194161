//! Durations as the values of keys.

use std::time::Duration;

use super::Section;
use crate::key::Form;
use crate::text::duration;

/// The resolution of timers. A shorter time would become one millisecond, or zero.
const CLOCK: Duration = Duration::from_millis(1);

/// The longest time that anybody waits for a plugin, or an orchestrator for the end of a process.
const HOUR: Duration = Duration::from_secs(3600);

/// The durations that a key may have.
#[derive(Clone, Copy)]
pub(super) struct DurationRange<'a> {
    least: Duration,
    /// The reason why a shorter duration is a problem.
    why: &'a str,
    most: Option<Duration>,
    /// The remedy for a longer duration.
    instead: &'a str,
    or_zero: bool,
}

impl<'a> DurationRange<'a> {
    /// Any duration that timers can count, or 0.
    pub(super) const ANY: Self = Self {
        least: CLOCK,
        why: "",
        most: None,
        instead: "",
        or_zero: true,
    };

    /// Any duration that timers can count.
    pub(super) const POSITIVE: Self = Self {
        or_zero: false,
        ..Self::ANY
    };

    /// At most an hour. `instead` is the remedy for a longer one.
    pub(super) fn to_an_hour(instead: &'a str) -> Self {
        Self {
            most: Some(HOUR),
            instead,
            ..Self::POSITIVE
        }
    }

    /// At least `least`: a shorter one could not be met, for the reason `why`.
    pub(super) fn at_least(least: Duration, why: &'a str) -> Self {
        Self {
            least,
            why,
            ..Self::POSITIVE
        }
    }

    /// Allows 0, too.
    pub(super) fn or_zero(self) -> Self {
        Self {
            or_zero: true,
            ..self
        }
    }

    /// Returns the value of a key; `None` if it has none or another.
    pub(super) fn read(
        self,
        section: &Section<'_>,
        key: &'static str,
        default: Option<Duration>,
    ) -> Option<Duration> {
        section.ask(key, || {
            let form = Form::Duration {
                least: self.least,
                most: self.most,
                or_zero: self.or_zero,
            };
            (form, default.map(|default| duration::shown(default).into()))
        });
        let duration = parse(section, key)?;
        if duration.is_zero() {
            if self.or_zero {
                return Some(duration);
            }
            let instead = "write a duration such as 200ms or 5s";
            section.wrong_key(key, "must be longer than 0", instead);
            return None;
        }
        let shown = || match section.node(key).is_some_and(|node| node.hidden) {
            true => "this value".to_owned(),
            false => format!("{duration:?}"),
        };
        if duration < self.least {
            let what = match self.least == CLOCK {
                true => format!("{} is shorter than time is counted here", shown()),
                false => format!("{} would not be kept: {}", shown(), self.why),
            };
            section.wrong_key(key, what, format!("write at least {:?}", self.least));
            return None;
        }
        if self.most.is_some_and(|most| duration > most) {
            section.wrong_key(key, "longer than an hour", self.instead);
        }
        Some(duration)
    }
}

fn parse(section: &Section<'_>, key: &'static str) -> Option<Duration> {
    let text = section.text(key, "a duration")?;
    let duration = duration::parse(text);
    if duration.is_none() {
        let shown = section.shown(key, text);
        let what = if text.bytes().all(|byte| byte.is_ascii_digit()) {
            format!("{shown} has no unit")
        } else {
            format!("{shown} is not a duration")
        };
        section.wrong_key(key, what, "write one such as 200ms, 5s or 1h30m");
    }
    duration
}
