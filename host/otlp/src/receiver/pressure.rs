//! How much of what comes is refused, and so when senders are told to come back.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Nobody is told to come back sooner: a last flush of five seconds still gets another chance.
const SOONEST: Duration = Duration::from_secs(1);

/// Nor later than this, and a half of it that spreads them: what a queue of an SDK holds is at most
/// about that old.
const LATEST: Duration = Duration::from_secs(20);

/// The share of refusals is that of this time and of as much before it.
const PERIOD: Duration = Duration::from_secs(2);

/// Requests that are taken to have been accepted in any case, so that one refusal in a quiet time
/// does not count as everything being refused.
const QUIET: u32 = 16;

/// See the module.
#[derive(Debug)]
pub(crate) struct Pressure {
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

impl Pressure {
    pub(crate) fn new() -> Self {
        Self {
            periods: Mutex::new(Periods {
                since: Instant::now(),
                now: Counts::default(),
                before: Counts::default(),
            }),
        }
    }

    pub(crate) fn accepted(&self) {
        self.with(|counts| counts.accepted = counts.accepted.saturating_add(1));
    }

    /// Counts a refusal for lack of room, and says when to come back: after a second when it is one
    /// of few, after [`LATEST`] when nothing else happens.
    pub(crate) fn refused(&self) -> Duration {
        let share = self.with(|counts| counts.refused = counts.refused.saturating_add(1));
        let ratio = LATEST.as_secs_f64() / SOONEST.as_secs_f64();
        let wait = SOONEST.mul_f64(ratio.powf(share));
        wait.clamp(SOONEST, LATEST)
    }

    /// Counts, and returns the share of refusals.
    fn with(&self, count: impl FnOnce(&mut Counts)) -> f64 {
        let mut periods = self.periods.lock().unwrap_or_else(PoisonError::into_inner);
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
        f64::from(refused) / f64::from(refused.saturating_add(accepted).saturating_add(QUIET))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The wait grows with the share of what is refused, and is forgotten when the pressure is over.
    #[tokio::test(start_paused = true)]
    async fn the_wait_grows_with_the_pressure() {
        let pressure = Pressure::new();
        let alone = pressure.refused();
        assert!(alone >= SOONEST && alone < SOONEST * 2, "{alone:?}");
        for _ in 0..1000 {
            pressure.accepted();
            pressure.refused();
        }
        let half = pressure.refused();
        assert!(half > Duration::from_secs(3) && half < Duration::from_secs(6));
        tokio::time::advance(PERIOD * 3).await;
        for _ in 0..2000 {
            pressure.refused();
        }
        let all = pressure.refused();
        assert!(all > LATEST / 2 && all <= LATEST, "{all:?}");
        tokio::time::advance(PERIOD * 3).await;
        let later = pressure.refused();
        assert!(later < SOONEST * 2, "{later:?}");
    }
}
