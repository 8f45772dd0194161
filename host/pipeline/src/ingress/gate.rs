//! A gate by which other code can say that nothing may come in for now.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

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

#[cfg(test)]
mod tests {
    use super::*;

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
