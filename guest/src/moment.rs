//! A time that stays valid across a swap.

use std::cell::Cell;
use std::ops::{Add, Sub};
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::host::monotonic;

/// A time of the monotonic clock. Unlike the result of [`monotonic`](crate::monotonic), it may be
/// part of a state: it is written as its age, because the clock of the next instance starts
/// elsewhere.
///
/// ```
/// use spandrel_guest::prelude::*;
///
/// let began = Moment::now();
/// # spandrel_guest::testing::TestHost::<Nothing>::configure("{}").unwrap().advance(Duration::from_secs(2));
/// # struct Nothing;
/// # #[derive(Deserialize)]
/// # struct Config {}
/// # impl Plugin for Nothing {
/// #     type Config = Config;
/// #     fn configure(_: Config) -> Result<Self, String> { Ok(Self) }
/// #     fn process(&mut self, _: &mut Batch) {}
/// # }
/// let due = began + Duration::from_secs(30);
/// // Two seconds later:
/// assert_eq!(began.elapsed(), Duration::from_secs(2));
/// assert_eq!(due - Moment::now(), Duration::from_secs(28));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment {
    /// The time since the start of this instance's clock; negative for a time before that start.
    nanoseconds: i64,
}

impl Moment {
    /// Returns the current time.
    pub fn now() -> Self {
        Self::START + monotonic()
    }

    /// The start of this instance's clock.
    const START: Self = Self { nanoseconds: 0 };

    /// Returns the time since then; zero if it is still in the future.
    pub fn elapsed(self) -> Duration {
        Self::now() - self
    }
}

/// Returns the time that is later by this duration.
impl Add<Duration> for Moment {
    type Output = Self;

    fn add(self, later: Duration) -> Self {
        let later = i64::try_from(later.as_nanos()).unwrap_or(i64::MAX);
        let nanoseconds = self.nanoseconds.saturating_add(later);
        Self { nanoseconds }
    }
}

/// Returns the time between the two; zero if the other is later.
impl Sub for Moment {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        let between = self.nanoseconds.saturating_sub(earlier.nanoseconds);
        Duration::from_nanos(u64::try_from(between).unwrap_or_default())
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let age = now().nanoseconds.saturating_sub(self.nanoseconds);
        age.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let age = i64::deserialize(deserializer)?;
        let nanoseconds = now().nanoseconds.saturating_sub(age);
        Ok(Self { nanoseconds })
    }
}

thread_local! {
    /// The current time for the state that is being written or read.
    static NOW: Cell<Option<Moment>> = const { Cell::new(None) };
}

fn now() -> Moment {
    NOW.get().unwrap_or_else(Moment::now)
}

/// Writes or reads a state with a single look at the clock, because each look is a call to the
/// host.
pub(crate) fn at_one_moment<R>(state: impl FnOnce() -> R) -> R {
    NOW.set(Some(Moment::now()));
    let done = state();
    NOW.set(None);
    done
}
