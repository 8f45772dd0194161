//! Batches on which a stage's plugin failed: known by a hash of their bytes, so that a batch which
//! fails every time is not offered for ever, however often its sender repeats it.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use tokio::time::Instant;

/// After so many failures on the same bytes, the plugin is not asked again.
pub(crate) const ATTEMPTS: u32 = 3;

/// So many batches are remembered. A sender that repeats a batch does so within seconds, so the
/// oldest may be forgotten when the table is full.
const REMEMBERED: usize = 1024;

/// When nothing failed for this long, everything is forgotten: senders give up on a batch after five
/// minutes, and while there is something to remember each batch costs a hash of its bytes.
const REMEMBERED_FOR: Duration = Duration::from_secs(5 * 60);

/// The batches that failed in one stage on one shard.
#[derive(Debug, Default)]
pub(crate) struct Quarantine {
    hasher: RandomState,
    /// Failures by hash, with the order in which the batch came in.
    failures: HashMap<u64, (u32, u64)>,
    clock: u64,
    last: Option<Instant>,
}

impl Quarantine {
    /// Forgets what is long past.
    pub(crate) fn forget(&mut self) {
        if self
            .last
            .is_some_and(|last| last.elapsed() > REMEMBERED_FOR)
        {
            self.failures.clear();
            self.last = None;
        }
    }

    /// Whether it has not failed on any bytes that are remembered.
    pub(crate) fn is_empty(&self) -> bool {
        self.failures.is_empty()
    }

    /// How often the plugin failed on these bytes. Costs nothing while nothing has failed.
    pub(crate) fn failures(&self, bytes: &[u8]) -> u32 {
        if self.failures.is_empty() {
            return 0;
        }
        self.failures
            .get(&self.hasher.hash_one(bytes))
            .map_or(0, |(failures, _)| *failures)
    }

    /// The plugin failed on these bytes. Returns how often it has by now.
    pub(crate) fn fault(&mut self, bytes: &[u8]) -> u32 {
        self.clock += 1;
        self.last = Some(Instant::now());
        let entry = self
            .failures
            .entry(self.hasher.hash_one(bytes))
            .or_default();
        *entry = (entry.0 + 1, self.clock);
        let failures = entry.0;
        if self.failures.len() > REMEMBERED {
            let oldest = self
                .failures
                .iter()
                .min_by_key(|(_, (_, seen))| *seen)
                .map(|(hash, _)| *hash);
            oldest.map(|hash| self.failures.remove(&hash));
        }
        failures
    }

    /// The plugin worked on these bytes after all.
    pub(crate) fn success(&mut self, bytes: &[u8]) {
        if !self.failures.is_empty() {
            self.failures.remove(&self.hasher.hash_one(bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Failures are counted for each batch alone, a success forgets them, and the table is bounded.
    #[test]
    fn counts_each_batch_alone() {
        let mut quarantine = Quarantine::default();
        assert_eq!(quarantine.fault(b"poison"), 1);
        assert_eq!(quarantine.fault(b"poison"), 2);
        assert_eq!(
            (
                quarantine.failures(b"poison"),
                quarantine.failures(b"other")
            ),
            (2, 0)
        );
        quarantine.success(b"poison");
        assert_eq!(quarantine.failures(b"poison"), 0);
        for batch in 0..3000_u32 {
            quarantine.fault(&batch.to_le_bytes());
        }
        assert_eq!(quarantine.failures.len(), REMEMBERED);
        assert_eq!(quarantine.failures(&2999_u32.to_le_bytes()), 1);
    }

    /// Failures are remembered while senders may repeat the batch, and not for ever.
    #[tokio::test(start_paused = true)]
    async fn forgets_in_time() {
        let mut quarantine = Quarantine::default();
        quarantine.fault(b"poison");
        tokio::time::advance(REMEMBERED_FOR).await;
        quarantine.forget();
        assert_eq!(quarantine.failures(b"poison"), 1);
        tokio::time::advance(Duration::from_secs(1)).await;
        quarantine.forget();
        assert!(quarantine.is_empty());
    }
}
