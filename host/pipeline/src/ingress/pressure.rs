//! The hint that tells a sender when to come back, which grows with the share of refused requests;
//! and a gate by which other code can say that nothing may come in for now.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
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
const QUIET: u32 = 16;

/// Refuses everything that is offered for as long as it is shut. Costs one atomic load per request.
#[derive(Debug, Default)]
pub struct Gate {
    /// The hint to senders in milliseconds; zero while the gate is open.
    shut: AtomicU64,
}

impl Gate {
    /// Shuts the gate: everything is refused from now on, with this hint. Requests that are in
    /// already are not touched.
    pub fn shut(&self, retry_after: Duration) {
        let millis = u64::try_from(retry_after.as_millis()).unwrap_or(u64::MAX);
        self.shut.store(millis.max(1), Ordering::Relaxed);
    }

    /// Opens the gate, as if it had never been shut.
    pub fn open(&self) {
        self.shut.store(0, Ordering::Relaxed);
    }

    /// Returns the hint to senders, while the gate is shut.
    pub fn retry_after(&self) -> Option<Duration> {
        match self.shut.load(Ordering::Relaxed) {
            0 => None,
            millis => Some(Duration::from_millis(millis)),
        }
    }
}

/// The share of requests that were refused lately for lack of room, in the pipeline or in the
/// receiver in front of it. This is the only place where the hint to a sender is computed.
#[derive(Debug)]
pub(super) struct Pressure {
    periods: Mutex<Periods>,
    pub(super) gate: Arc<Gate>,
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
            gate: Arc::default(),
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
        f64::from(refused) / f64::from(refused.saturating_add(accepted).saturating_add(QUIET))
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

    /// A gate refuses for as long as it is shut.
    #[test]
    fn a_gate_opens_again() {
        let gate = Gate::default();
        assert_eq!(gate.retry_after(), None);
        gate.shut(Duration::from_secs(2));
        assert_eq!(gate.retry_after(), Some(Duration::from_secs(2)));
        gate.open();
        assert_eq!(gate.retry_after(), None);
    }
}
