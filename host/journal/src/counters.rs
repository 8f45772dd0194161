//! The counters of a journal, and the room that its logs share.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

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

#[derive(Debug, Default)]
pub(crate) struct Counted {
    pub(crate) records: AtomicU64,
    pub(crate) bytes: AtomicU64,
    pub(crate) syncs: AtomicU64,
    sync_nanos: AtomicU64,
    last_sync_nanos: AtomicU64,
    pub(crate) failures: AtomicU64,
    pub(crate) full: AtomicU64,
    pub(crate) damaged: AtomicU64,
}

pub(crate) fn add(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Ordering::Relaxed);
}

impl Counted {
    pub(crate) fn synced(&self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        add(&self.syncs, 1);
        add(&self.sync_nanos, nanos);
        self.last_sync_nanos.store(nanos, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> Counters {
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

/// Bytes on the disk that the logs of a pipeline share.
#[derive(Debug)]
pub(crate) struct Quota {
    used: AtomicU64,
    most: u64,
}

impl Quota {
    pub(crate) fn new(most: u64) -> Self {
        Self {
            used: AtomicU64::new(0),
            most,
        }
    }

    pub(crate) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Takes room and returns true, unless less than `left` would remain.
    pub(crate) fn take(&self, bytes: u64, left: u64) -> bool {
        let most = self.most.saturating_sub(left);
        let fits = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= most);
        let taken = self
            .used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits);
        taken.is_ok()
    }

    /// Returns true if less than `left` remains.
    pub(crate) fn is_tight(&self, left: u64) -> bool {
        self.used() > self.most.saturating_sub(left)
    }

    /// Counts bytes that exist, whether or not there is room for them.
    pub(crate) fn count(&self, bytes: u64) {
        self.used.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn give_back(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// Lets a repeated log line through once in ten seconds.
#[derive(Debug, Default)]
pub(crate) struct Quiet(Mutex<(Option<Instant>, u64)>);

const QUIET: Duration = Duration::from_secs(10);

impl Quiet {
    /// Returns the number of lines held back since the last one, if it is time for the next.
    pub(crate) fn repeated(&self) -> Option<u64> {
        let now = Instant::now();
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.0.is_some_and(|last| now - last < QUIET) {
            state.1 += 1;
            return None;
        }
        state.0 = Some(now);
        Some(std::mem::take(&mut state.1))
    }
}
