//! The times at which a runner has something to do besides batches.

use std::time::Duration;

use tokio::time::Instant;

/// The time between two checks of held items, and of a plugin that waits to be instantiated again,
/// if the plugin itself asks for no ticks.
pub const HOUSEKEEPING: Duration = Duration::from_secs(1);

/// The next time at which the runner is to be looked at, and the plugin's next tick.
#[derive(Debug)]
pub(super) struct Schedule {
    wake_at: Instant,
    /// The time when the plugin's own tick is due, if it asked for ticks.
    tick_at: Option<Instant>,
    /// The time between two ticks, if the plugin asked for ticks.
    interval: Option<Duration>,
}

impl Schedule {
    pub(super) fn new(interval: Option<Duration>) -> Self {
        let now = Instant::now();
        Self {
            wake_at: now + interval.map_or(HOUSEKEEPING, |interval| interval.min(HOUSEKEEPING)),
            tick_at: interval.map(|interval| now + interval),
            interval,
        }
    }

    /// Returns the next time at which the runner is to be looked at.
    pub(super) fn wake_at(&self) -> Instant {
        self.wake_at
    }

    /// Returns true if the plugin's tick is due.
    pub(super) fn tick_is_due(&self) -> bool {
        self.tick_at.is_some_and(|due| Instant::now() >= due)
    }

    /// Makes the runner be looked at as soon as possible.
    pub(super) fn wake_now(&mut self) {
        self.wake_at = Instant::now();
    }

    /// Sets the next times at the end of a look. The next tick counts from the end of the call, so
    /// a tick that takes longer than its interval still leaves time for batches.
    ///
    /// `ticked` is true if the plugin's tick was due; `has_more` is true if the next look is to come
    /// at once.
    pub(super) fn looked(&mut self, ticked: bool, has_more: bool) {
        let now = Instant::now();
        if ticked {
            self.tick_at = self.interval.map(|interval| now + interval);
        }
        let soon = if has_more { now } else { now + HOUSEKEEPING };
        self.wake_at = self.tick_at.map_or(soon, |tick| tick.min(soon));
    }

    /// Keeps the due times of the generation before this one. Otherwise, with swaps more often than
    /// ticks, no tick would ever be due.
    pub(super) fn inherit(&mut self, other: &Self) {
        self.wake_at = self.wake_at.min(other.wake_at);
        self.tick_at = self
            .tick_at
            .map(|own| own.min(other.tick_at.unwrap_or(own)));
    }
}
