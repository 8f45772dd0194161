//! The counters of a journal.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The counters of a journal since it was opened, all logs together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Records that were appended.
    pub records: u64,
    /// Bytes of those records.
    pub bytes: u64,
    /// Syncs of segments that records waited for.
    pub syncs: u64,
    /// The time that these syncs took together.
    pub sync_time: Duration,
    /// The time that the last of these syncs took.
    pub last_sync: Duration,
    /// Syncs and writes that failed.
    pub failures: u64,
    /// Appends refused because there was no room.
    pub full: u64,
    /// Records that were lost to damage, including those found at the start.
    pub damaged: u64,
    /// The number of segments now.
    pub segments: u64,
    /// The bytes of all files now.
    pub disk_bytes: u64,
}

/// The counters of a journal, as its threads count.
#[derive(Debug, Default)]
pub(crate) struct LiveCounters {
    records: AtomicU64,
    bytes: AtomicU64,
    syncs: AtomicU64,
    sync_nanos: AtomicU64,
    last_sync_nanos: AtomicU64,
    failures: AtomicU64,
    full: AtomicU64,
    damaged: AtomicU64,
}

impl LiveCounters {
    /// Counts a record that was appended.
    pub(crate) fn appended(&self, bytes: u64) {
        add(&self.records, 1);
        add(&self.bytes, bytes);
    }

    /// Counts a sync that succeeded.
    pub(crate) fn synced(&self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        add(&self.syncs, 1);
        add(&self.sync_nanos, nanos);
        self.last_sync_nanos.store(nanos, Ordering::Relaxed);
    }

    /// Counts a sync or a write that failed.
    pub(crate) fn failed(&self) {
        add(&self.failures, 1);
    }

    /// Counts appends that were refused because there was no room.
    pub(crate) fn refused_full(&self, appends: usize) {
        add(&self.full, u64::try_from(appends).unwrap_or_default());
    }

    /// Counts records that were lost to damage.
    pub(crate) fn damaged(&self, records: u64) {
        add(&self.damaged, records);
    }

    /// Returns the counters so far, without the figures of the files.
    pub(crate) fn snapshot(&self) -> Counters {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counters {
            records: get(&self.records),
            bytes: get(&self.bytes),
            syncs: get(&self.syncs),
            sync_time: Duration::from_nanos(get(&self.sync_nanos)),
            last_sync: Duration::from_nanos(get(&self.last_sync_nanos)),
            failures: get(&self.failures),
            full: get(&self.full),
            damaged: get(&self.damaged),
            segments: 0,
            disk_bytes: 0,
        }
    }
}

fn add(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Ordering::Relaxed);
}
