//! Computes the duration of a trace from times that may be wrong.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use spandrel_guest::Span;

/// 2000-01-01T00:00:00Z in nanoseconds. A time before it is invalid: it was left out, or it is in
/// seconds, milliseconds or microseconds, which are all near 1970 when they are read as
/// nanoseconds.
const EARLIEST: u64 = 946_684_800_000_000_000;

/// The most that a sender's clock may be ahead of the collector's. A later time is invalid: it is
/// counted in something finer than nanoseconds, has its bytes in the wrong order, or is a sentinel.
const AHEAD: Duration = Duration::from_secs(24 * 3600);

/// The limits that spans' times are checked against.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    /// The latest valid end, in nanoseconds since the Unix epoch.
    latest: u64,
    /// The longest gap between spans of one trace. If the gap is longer, their clocks differ.
    pub(crate) apart: Duration,
}

impl Clock {
    /// Makes the limits for the current time `now`, in nanoseconds since the Unix epoch.
    pub(crate) fn new(now: u64, apart: Duration) -> Self {
        let latest = now.saturating_add(nanoseconds(AHEAD));
        Self { latest, apart }
    }

    /// Returns start and end of a span if they are valid and in order.
    pub(crate) fn times_of(&self, span: &Span<'_>) -> Option<Times> {
        let (start, end) = (span.start_time_unix_nano(), span.end_time_unix_nano());
        let are_times = EARLIEST <= start && start <= end && end <= self.latest;
        are_times.then_some(Times { start, end })
    }
}

/// The time from a first start to a last end, in nanoseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(u64, u64)")]
pub(crate) struct Times {
    start: u64,
    end: u64,
}

/// Reads the times from a state. The first releases accepted every time that a span had.
impl From<(u64, u64)> for Times {
    fn from((start, end): (u64, u64)) -> Self {
        if start < EARLIEST {
            Self::NONE
        } else {
            Self { start, end }
        }
    }
}

impl Times {
    /// The times of no span.
    pub(crate) const NONE: Self = Self {
        start: u64::MAX,
        end: 0,
    };

    pub(crate) fn duration(self) -> Duration {
        Duration::from_nanos(self.end.saturating_sub(self.start))
    }

    /// Adds the times of more spans. If these are further from the earlier ones than a trace waits,
    /// the clocks of two senders differ, and the gap between them is not a duration: then the
    /// longer of the two counts.
    pub(crate) fn add(&mut self, more: Self, apart: Duration) {
        let both = Self {
            start: self.start.min(more.start),
            end: self.end.max(more.end),
        };
        let gap = self
            .start
            .max(more.start)
            .saturating_sub(self.end.min(more.end));
        if *self == Self::NONE || more == Self::NONE || Duration::from_nanos(gap) <= apart {
            *self = both;
        } else if more.duration() > self.duration() {
            *self = more;
        }
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
