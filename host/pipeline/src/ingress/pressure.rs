//! When a sender is told to come back: the longer, the more of what is offered is refused; and a gate
//! by which somebody else can say that nothing may come in for now.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// The shortest hint: a burst has passed by then.
const SHORTEST: Duration = Duration::from_secs(1);
/// The longest: a sender that comes back later than that has thrown its batches away.
const LONGEST: Duration = Duration::from_secs(30);

/// Refuses everything that is offered for as long as it is shut. Costs one atomic load a request.
#[derive(Debug, Default)]
pub struct Gate {
    /// The hint to senders in milliseconds; zero while the gate is open.
    shut: AtomicU64,
}

impl Gate {
    /// Everything is refused from now on, with this hint; what is in already is not touched.
    pub fn shut(&self, retry_after: Duration) {
        let millis = u64::try_from(retry_after.as_millis()).unwrap_or(u64::MAX);
        self.shut.store(millis.max(1), Ordering::Relaxed);
    }

    /// As if it had never been shut.
    pub fn open(&self) {
        self.shut.store(0, Ordering::Relaxed);
    }

    /// The hint to senders, while it is shut.
    pub fn retry_after(&self) -> Option<Duration> {
        match self.shut.load(Ordering::Relaxed) {
            0 => None,
            millis => Some(Duration::from_millis(millis)),
        }
    }
}

/// The share of requests that were refused lately, for lack of room or of a disk.
#[derive(Debug, Default)]
pub(super) struct Pressure {
    /// In parts of `WHOLE`.
    refused: AtomicU32,
    pub(super) gate: Arc<Gate>,
}

const WHOLE: u32 = 1 << 16;
/// Each request counts for one part in so many: about that many are remembered.
const WEIGHT: u32 = 64;

impl Pressure {
    /// A request found room.
    pub(super) fn accepted(&self) {
        let refused = self.refused.load(Ordering::Relaxed);
        // Requests at the same time may be counted once: it is an estimate.
        if refused > 0 {
            let less = refused - refused.div_ceil(WEIGHT);
            self.refused.store(less, Ordering::Relaxed);
        }
    }

    /// A request is refused: its sender comes back after this. So many tries as one takes to get in,
    /// so many times as long is each wait: what comes in follows what goes out.
    pub(super) fn refuse(&self) -> Duration {
        let refused = self.refused.load(Ordering::Relaxed);
        let more = refused + (WHOLE - refused) / WEIGHT;
        self.refused.store(more, Ordering::Relaxed);
        let tries = f64::from(WHOLE) / f64::from((WHOLE - refused).max(1));
        LONGEST.min(SHORTEST.mul_f64(tries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The hint grows with the share that is refused, stays within its bounds, and shrinks again.
    #[test]
    fn hints_follow_pressure() {
        let pressure = Pressure::default();
        assert!(pressure.refuse() < Duration::from_millis(1100));
        let offer = |accepted: u32, refused: u32| {
            let mut hint = Duration::ZERO;
            for _ in 0..1000 {
                (0..accepted).for_each(|_| pressure.accepted());
                hint = (0..refused)
                    .map(|_| pressure.refuse())
                    .max()
                    .unwrap_or_default();
            }
            hint.as_secs_f64()
        };
        assert!((3.5..4.6).contains(&offer(1, 3)), "four times too much");
        assert!((29.9..30.1).contains(&offer(0, 1)), "nothing gets in");
        assert!((1.0..1.3).contains(&offer(9, 1)), "a burst");
    }

    /// A gate says no for as long as it is shut.
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
