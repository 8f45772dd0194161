//! The segments of a log, and the index of the records in them.

pub(crate) mod allocation;
mod free_list;
mod index;
pub(crate) mod read;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use parking_lot::{Mutex, MutexGuard};
use spandrel_pipeline::journal::LogFill;
use tokio::time::Instant;

use crate::counters::LiveCounters;
use crate::line_limiter::LineLimiter;
use crate::options::Options;
use crate::resources::Resources;
use crate::vfs::{File, Vfs};
use free_list::FreeList;
pub(crate) use free_list::FreeSegment;
pub(crate) use index::{Index, RecordEntry, RestoredIndex, Segment};

/// The start of the year 2020, before this code was written: a clock that is behind it was not set.
const CLOCK_SET: u64 = 1_577_836_800_000_000_000;

/// The most segments that are kept for their next use instead of being removed: as many as a fast
/// disk fills between two checkpoints.
const MAX_FREE: usize = 4;

/// The segments of one log and the index of its records, which the threads of the log share.
#[derive(Debug)]
pub(crate) struct Segments {
    resources: Resources,
    /// The name of the log in log lines: `ingress`, or `egress/` and an exporter.
    name: String,
    dir: PathBuf,
    /// Bytes of `max_bytes` that this log leaves to others.
    reserved: u64,
    index: Mutex<Index>,
    free: FreeList,
    /// The bytes of the log's files.
    disk_bytes: AtomicU64,
    failure_lines: LineLimiter,
}

impl Segments {
    /// Makes the segments of a log whose files are not read yet. The options of `resources` are
    /// those of the log.
    pub(crate) fn new(resources: Resources, name: String, dir: PathBuf, reserved: u64) -> Self {
        Self {
            resources,
            name,
            dir,
            reserved,
            index: Mutex::default(),
            free: FreeList::default(),
            disk_bytes: AtomicU64::new(0),
            failure_lines: LineLimiter::default(),
        }
    }

    /// Returns the files that the log is in.
    pub(crate) fn vfs(&self) -> &dyn Vfs {
        &*self.resources.vfs
    }

    /// Returns the options of the log.
    pub(crate) fn options(&self) -> &Options {
        &self.resources.options
    }

    /// Returns the counters of the journal.
    pub(crate) fn counters(&self) -> &LiveCounters {
        &self.resources.counters
    }

    /// Returns the name of the log.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Returns the directory of the log.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Returns the limit of the log lines about a disk that fails.
    pub(crate) fn failure_lines(&self) -> &LineLimiter {
        &self.failure_lines
    }

    /// Returns the index of the records.
    pub(crate) fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock()
    }

    /// Returns the segments that are not in use.
    pub(crate) fn free(&self) -> &FreeList {
        &self.free
    }

    /// Returns the path of a segment's file.
    pub(crate) fn path(&self, id: u64) -> PathBuf {
        self.dir.join(format!("segment-{id:016x}"))
    }

    /// Returns the file of a segment, to be read.
    pub(crate) fn file(&self, id: u64, segment: &Segment) -> io::Result<Arc<dyn File>> {
        match &segment.file {
            Some(file) => Ok(Arc::clone(file)),
            None => self.vfs().open(&self.path(id)),
        }
    }

    /// Syncs the file of a segment, and counts that.
    pub(crate) fn sync_file(&self, file: &dyn File) -> io::Result<()> {
        let began = Instant::now();
        file.sync_data()?;
        self.counters().synced(began.elapsed());
        Ok(())
    }

    /// Counts and reports a write or a sync of a segment that failed.
    pub(crate) fn report_failure(&self, error: &io::Error) {
        self.counters().failed();
        if let Some(repeated) = self.failure_lines.next() {
            let log = &self.name;
            tracing::error!(log, repeated, %error, "journal segment failed, it is not used again");
        }
    }

    /// Takes room for a new file and returns true, unless less than `left` would remain.
    pub(crate) fn reserve_bytes(&self, bytes: u64, left: u64) -> bool {
        let reserved = self.resources.quota.reserve(bytes, left);
        if reserved {
            self.disk_bytes.fetch_add(bytes, Ordering::Relaxed);
        }
        reserved
    }

    /// Counts bytes that exist, whether or not there is room for them.
    pub(crate) fn add_bytes(&self, bytes: u64) {
        self.resources.quota.add(bytes);
        self.disk_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Gives back the room of a removed file.
    pub(crate) fn release_bytes(&self, bytes: u64) {
        self.resources.quota.release(bytes);
        self.disk_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Returns how much is in the log.
    pub(crate) fn fill(&self) -> LogFill {
        LogFill {
            disk_bytes: self.disk_bytes.load(Ordering::Relaxed),
            ..self.index().fill()
        }
    }

    /// Returns the number of segments, in use and free.
    pub(crate) fn count(&self) -> usize {
        self.index().segment_count() + self.free.len()
    }

    /// Takes a segment out of use. Its file is kept for the next use, or removed.
    pub(crate) fn retire(&self, id: u64) {
        let Some(segment) = self.index().remove_segment(id) else {
            return;
        };
        let options = self.options();
        let usual = segment.size == options.segment_size() && !segment.failed;
        // If room is tight, the rest is for the egress log that needs it.
        let tight = self.resources.quota.is_tight(options.reserved_bytes());
        if usual
            && !tight
            && self.free.len() < MAX_FREE
            && let Ok(file) = self.vfs().open(&self.path(id))
        {
            self.free.push(FreeSegment { id, file });
            return;
        }
        self.remove_file(id, segment.size);
    }

    /// Removes the file of a segment that is not in use.
    pub(crate) fn remove_file(&self, id: u64, size: u64) {
        match self.vfs().remove(&self.path(id)) {
            Ok(()) => self.release_bytes(size),
            // The file stays, and takes its room, until the next start.
            Err(error) => {
                let log = &self.name;
                tracing::warn!(log, %error, "journal segment not removed");
            }
        }
    }

    /// Removes a free segment to make room. Returns true if there was one and it was removed.
    pub(crate) fn remove_free(&self) -> bool {
        let removed = self.free.pop_last();
        let removed = removed.map(|segment| self.vfs().remove(&self.path(segment.id)));
        let removed = removed.is_some_and(|removed| removed.is_ok());
        if removed {
            self.release_bytes(self.options().segment_size());
        }
        removed
    }

    /// Finishes the records that have expired, and returns the numbers of records and of their
    /// items. Nothing expires while the clock is behind the last record, and no record expires that
    /// was written when the clock was not set: then its age is unknown.
    pub(crate) fn expire(&self) -> (u64, u64) {
        let now = self.vfs().now();
        let oldest = self.options().max_age.and_then(|age| now.checked_sub(age));
        let mut index = self.index();
        match oldest {
            Some(oldest) if nanos(now) >= index.last_written() => {
                index.finish_written(CLOCK_SET..nanos(oldest))
            }
            _ => (0, 0),
        }
    }

    /// Returns true if a record that was written then has expired. Like [`Segments::expire`], it
    /// lets nothing expire while the age is unknown.
    pub(crate) fn is_expired(&self, written: SystemTime) -> bool {
        let now = self.vfs().now();
        let oldest = self.options().max_age.and_then(|age| now.checked_sub(age));
        let is_old = |oldest| (CLOCK_SET..nanos(oldest)).contains(&nanos(written));
        oldest.is_some_and(is_old) && nanos(now) >= self.index().last_written()
    }
}

/// Returns nanoseconds since 1970.
pub(crate) fn nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    let nanos = since.unwrap_or_default().as_nanos();
    u64::try_from(nanos).unwrap_or(u64::MAX)
}
