//! Batches on which a stage's plugin failed, known by a hash of their bytes, so that a batch that
//! fails every time is not offered to the plugin forever, however often its sender repeats it.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use tokio::time::Instant;

/// The number of failures on the same bytes after which the plugin is not asked again.
pub(crate) const ATTEMPTS: u32 = 3;

/// The number of batches that are remembered. A sender that repeats a batch does so within seconds,
/// so the oldest may be forgotten when the table is full.
const REMEMBERED: usize = 1024;

/// A batch that was not seen for this long is forgotten: senders give up after five minutes, and
/// while anything is remembered each batch costs a hash of its bytes.
const REMEMBERED_FOR: Duration = Duration::from_secs(5 * 60);

/// The batches that failed in one stage on one shard.
#[derive(Debug, Default)]
pub(crate) struct FailedBatches {
    hasher: RandomState,
    /// The number of failures by hash, with the time when the batch was last seen.
    failures: HashMap<u64, (u32, Instant)>,
}

impl FailedBatches {
    /// Forgets the batches that were not seen for [`REMEMBERED_FOR`].
    pub(crate) fn forget(&mut self) {
        self.failures
            .retain(|_, (_, seen)| seen.elapsed() <= REMEMBERED_FOR);
    }

    /// Returns true if no failed batch is remembered.
    pub(crate) fn is_empty(&self) -> bool {
        self.failures.is_empty()
    }

    /// Returns the number of batches that failed at least this often.
    pub(crate) fn batches(&self, attempts: u32) -> u64 {
        let failures = self.failures.values();
        failures.filter(|(failed, _)| *failed >= attempts).count() as u64
    }

    /// Returns how often the plugin failed on these bytes. Costs nothing while nothing has failed.
    pub(crate) fn failures(&mut self, bytes: &[u8]) -> u32 {
        if self.failures.is_empty() {
            return 0;
        }
        let known = self.failures.get_mut(&self.hasher.hash_one(bytes));
        known.map_or(0, |(failures, seen)| {
            *seen = Instant::now();
            *failures
        })
    }

    /// Counts a failure of the plugin on these bytes. Returns how often it has failed on them by
    /// now.
    pub(crate) fn fault(&mut self, bytes: &[u8]) -> u32 {
        let now = Instant::now();
        let entry = self
            .failures
            .entry(self.hasher.hash_one(bytes))
            .or_insert((0, now));
        *entry = (entry.0 + 1, now);
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

    /// Forgets these bytes: the plugin worked on them after all.
    pub(crate) fn success(&mut self, bytes: &[u8]) {
        if !self.failures.is_empty() {
            self.failures.remove(&self.hasher.hash_one(bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Failures are counted for each batch separately, a success forgets them, and the table is
    /// bounded.
    #[test]
    fn counts_each_batch_alone() {
        let mut quarantine = FailedBatches::default();
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

    /// A batch is remembered while its sender repeats it, but not forever; another one that fails
    /// in the meantime does not keep it.
    #[tokio::test(start_paused = true)]
    async fn forgets_in_time() {
        let mut quarantine = FailedBatches::default();
        quarantine.fault(b"repeated");
        quarantine.fault(b"once");
        for _ in 0..3 {
            tokio::time::advance(REMEMBERED_FOR / 2).await;
            quarantine.forget();
            assert_eq!(quarantine.failures(b"repeated"), 1);
        }
        assert_eq!(quarantine.failures(b"once"), 0);
        quarantine.fault(b"other");
        tokio::time::advance(REMEMBERED_FOR + Duration::from_secs(1)).await;
        quarantine.forget();
        assert!(quarantine.is_empty());
    }
}
