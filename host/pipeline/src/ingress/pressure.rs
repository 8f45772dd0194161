//! The hint that tells a sender when to come back, which grows with the share of refused requests.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// The shortest hint: an application has five seconds for its last flush, and gets another chance.
pub const SOONEST: Duration = Duration::from_secs(1);

/// The longest hint. A receiver adds up to a half of it, so that senders do not come back together:
/// no sender is told to wait for more than 30 s. The queue of an SDK holds about as much.
pub const LATEST: Duration = Duration::from_secs(20);

/// The length of a period. The share of refusals is taken over the present one and the one before.
const PERIOD: Duration = Duration::from_secs(2);

/// The number of requests that are assumed to be accepted in any case, so that one refusal in a
/// quiet time does not count as a refusal of everything.
const ASSUMED_ACCEPTED: u32 = 16;

/// The share of requests that were refused lately for lack of room, in the pipeline or in the
/// receiver in front of it. This is the only place where the hint to a sender is computed.
#[derive(Debug)]
pub(super) struct Pressure {
    periods: Mutex<Periods>,
}

#[derive(Debug)]
struct Periods {
    since: Instant,
    now: Counts,
    before: Counts,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    accepted: u32,
    refused: u32,
}

impl Default for Pressure {
    fn default() -> Self {
        Self {
            periods: Mutex::new(Periods {
                since: Instant::now(),
                now: Counts::default(),
                before: Counts::default(),
            }),
        }
    }
}

impl Pressure {
    /// Counts a request that was let in.
    pub(super) fn accepted(&self) {
        self.with(|counts| counts.accepted = counts.accepted.saturating_add(1));
    }

    /// Counts a refusal for lack of room, and returns the time after which the sender is to come
    /// back: [`SOONEST`] if few are refused, [`LATEST`] if nothing is let in.
    pub(super) fn refuse(&self) -> Duration {
        let share = self.with(|counts| counts.refused = counts.refused.saturating_add(1));
        let ratio = LATEST.as_secs_f64() / SOONEST.as_secs_f64();
        SOONEST.mul_f64(ratio.powf(share)).clamp(SOONEST, LATEST)
    }

    /// Counts a request, and returns the share of refusals.
    fn with(&self, count: impl FnOnce(&mut Counts)) -> f64 {
        let mut periods = self.periods.lock();
        let elapsed = periods.since.elapsed();
        if elapsed > PERIOD {
            let last = std::mem::take(&mut periods.now);
            let is_recent = elapsed < PERIOD * 2;
            periods.before = if is_recent { last } else { Counts::default() };
            periods.since = Instant::now();
        }
        count(&mut periods.now);
        let Periods { now, before, .. } = *periods;
        let refused = now.refused.saturating_add(before.refused);
        let accepted = now.accepted.saturating_add(before.accepted);
        f64::from(refused)
            / f64::from(
                refused
                    .saturating_add(accepted)
                    .saturating_add(ASSUMED_ACCEPTED),
            )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The hint grows with the share of refusals, stays within its bounds, and is forgotten when
    /// the pressure is over.
    #[tokio::test(start_paused = true)]
    async fn hints_follow_pressure() {
        let pressure = Pressure::default();
        let alone = pressure.refuse();
        assert!(alone >= SOONEST && alone < SOONEST * 2, "{alone:?}");
        for _ in 0..1000 {
            pressure.accepted();
            pressure.refuse();
        }
        let half = pressure.refuse();
        assert!(half > Duration::from_secs(3) && half < Duration::from_secs(6));
        tokio::time::advance(PERIOD * 3).await;
        for _ in 0..2000 {
            pressure.refuse();
        }
        let all = pressure.refuse();
        assert!(all > LATEST / 2 && all <= LATEST, "{all:?}");
        tokio::time::advance(PERIOD * 3).await;
        let later = pressure.refuse();
        assert!(later < SOONEST * 2, "{later:?}");
    }
}
