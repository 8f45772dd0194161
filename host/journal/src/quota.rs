//! The room on the disk that the logs of a pipeline share.

use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes on the disk that the logs of a pipeline share.
#[derive(Debug)]
pub(crate) struct Quota {
    used: AtomicU64,
    max: u64,
}

impl Quota {
    /// Makes the room of this many bytes.
    pub(crate) fn new(max: u64) -> Self {
        Self {
            used: AtomicU64::new(0),
            max,
        }
    }

    /// Returns the bytes in use.
    pub(crate) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Reserves room and returns true, unless less than `left` would remain.
    pub(crate) fn reserve(&self, bytes: u64, left: u64) -> bool {
        let max = self.max.saturating_sub(left);
        let fits = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= max);
        let reserved = self
            .used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits);
        reserved.is_ok()
    }

    /// Returns true if less than `left` remains.
    pub(crate) fn is_tight(&self, left: u64) -> bool {
        self.used() > self.max.saturating_sub(left)
    }

    /// Counts bytes that exist, whether or not there is room for them.
    pub(crate) fn add(&self, bytes: u64) {
        self.used.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Gives back room.
    pub(crate) fn release(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}
