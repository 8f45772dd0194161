//! Appends records: many records, one write, one sync.
//!
//! With [`Sync::Group`] a record is acknowledged after its sync. With the others it is acknowledged
//! after its write, and the sync follows. Until then its segment counts as *unsynced*.

mod active_segment;
mod backoff;
mod commit_group;
pub(crate) mod queue;
pub(crate) mod thread;
mod unsynced_segment;

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use spandrel_pipeline::journal::AppendError;

use crate::format::SECTOR;
use crate::format::record::{MAX_PAYLOAD, footprint};
use crate::format::segment::FIRST;
use crate::options::Sync;
use crate::segments::allocation::allocate;
use crate::segments::{FreeSegment, RecordEntry, Segments, nanos};
use crate::write_error;
use active_segment::{ActiveSegment, SegmentEnd};
use backoff::Backoff;
use commit_group::{CommitGroup, Record};
use unsynced_segment::UnsyncedSegment;

/// The most sealed segments that wait for their sync. Each is an open file, and the system itself
/// has brought to the disk what is older than a thousand usual requests.
const MAX_UNSYNCED: usize = 64;

/// A batch that is to become a record.
#[derive(Clone, Debug)]
pub(crate) struct NewRecord {
    /// The batch.
    pub(crate) payload: Bytes,
    /// The number of its items.
    pub(crate) items: u64,
}

/// The only writer that appends to a log.
#[derive(Debug)]
pub(crate) struct Writer {
    segments: Arc<Segments>,
    active: Option<ActiveSegment>,
    /// Sealed segments with records that are not synced, oldest first.
    unsynced: Vec<UnsyncedSegment>,
    backoff: Backoff,
}

pub(crate) fn length(bytes: &Bytes) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

impl Writer {
    /// Begins a new segment with its first record.
    pub(crate) fn new(segments: Arc<Segments>) -> Self {
        Self {
            segments,
            active: None,
            unsynced: Vec::new(),
            backoff: Backoff::default(),
        }
    }

    /// Returns the log's segments.
    pub(crate) fn segments(&self) -> &Arc<Segments> {
        &self.segments
    }

    /// Returns true if the next segment should be allocated.
    pub(crate) fn wants_segment(&self) -> bool {
        let active = self.active.as_ref();
        active.is_some_and(ActiveSegment::is_half_full)
    }

    /// Writes the first of these records, as many as fit in one segment. Returns the number of
    /// records that the result is for, and the LSN of the first one.
    pub(crate) fn commit(&mut self, records: &[NewRecord]) -> (usize, Result<u64, AppendError>) {
        if let Some(refusal) = self.backoff.refusal() {
            return (records.len(), Err(self.refused(refusal, records.len())));
        }
        let Some(first) = records.first() else {
            return (0, Ok(self.segments.index().next_lsn()));
        };
        if length(&first.payload) > MAX_PAYLOAD {
            let error = io::Error::from(io::ErrorKind::FileTooLarge);
            return (1, Err(AppendError::Failed(error)));
        }
        match self.try_commit(records) {
            Ok((count, lsn)) => {
                self.backoff.end(self.segments.name());
                (count, Ok(lsn))
            }
            Err(error) => {
                let pause = self.segments.options().retry_after;
                self.backoff.begin(&error, pause, self.segments.name());
                (records.len(), Err(self.refused(error, records.len())))
            }
        }
    }

    fn refused(&self, error: AppendError, records: usize) -> AppendError {
        if matches!(error, AppendError::Full { .. }) {
            self.segments.counters().refused_full(records);
        }
        error
    }

    /// Writes to the active segment and, if that fails, once more to another: a descriptor whose
    /// sync failed is never used again.
    fn try_commit(&mut self, records: &[NewRecord]) -> Result<(usize, u64), AppendError> {
        let now = nanos(self.segments.vfs().now());
        let (next, now) = {
            let mut index = self.segments.index();
            (index.next_lsn(), index.advance_clock(now))
        };
        let sync = self.segments.options().sync == Sync::Group;
        let mut failed = None;
        for _ in 0..2 {
            let lengths = || records.iter().map(|record| length(&record.payload));
            self.sync_before_leaving(lengths())?;
            let count = self.make_room(lengths)?;
            let group = (next..)
                .zip(records.iter().take(count))
                .map(|(lsn, record)| {
                    let NewRecord { payload, items } = record.clone();
                    Record::new(lsn, payload, items, now)
                });
            let group = CommitGroup::new(group.collect(), next);
            match self.write(&group, sync) {
                Ok(entries) => {
                    self.acknowledge(&entries, sync);
                    return Ok((count, next));
                }
                Err(error) => failed = Some(error),
            }
        }
        Err(failed.map_or(AppendError::Closed, write_error::from_io))
    }

    /// Adds written records to the index: from now on they are there.
    fn acknowledge(&mut self, entries: &[(u64, RecordEntry)], synced: bool) {
        self.segments.index().append(entries);
        for (_, entry) in entries {
            self.segments.counters().appended(u64::from(entry.length));
        }
        if !synced
            && let Some(active) = &mut self.active
            && let Some((first, _)) = entries.first()
        {
            active.note_unsynced(*first);
        }
    }

    /// Makes sure that the first of these lengths fits in the active segment. Returns the number of
    /// those that fit.
    fn make_room<I: Iterator<Item = u64>>(
        &mut self,
        lengths: impl Fn() -> I,
    ) -> Result<usize, AppendError> {
        if let Some(active) = &self.active {
            match active.fit(lengths()) {
                0 => self.leave_active(SegmentEnd::Full),
                count => return Ok(count),
            }
        }
        let needed = FIRST + footprint(lengths().next().unwrap_or_default()) + SECTOR;
        let active = self.next_segment(needed)?;
        let count = active.fit(lengths());
        self.active = Some(active);
        Ok(count)
    }

    fn next_segment(&self, needed: u64) -> Result<ActiveSegment, AppendError> {
        let segments = &*self.segments;
        let usual = segments.options().segment_size();
        let single = needed > usual;
        let size = if single {
            needed.next_multiple_of(4096)
        } else {
            usual
        };
        let free = if single { None } else { segments.free().take() };
        let segment = free.map_or_else(|| allocate(segments, size), Ok)?;
        let FreeSegment { id, file } = segment;
        let salt = segments.vfs().salt();
        let header = segments.index().begin_segment(id, size, salt, &file);
        Ok(ActiveSegment::new(header, file, single))
    }

    /// Appends to the active segment with one write and, with `sync`, one sync. If either fails,
    /// the segment is never written to again.
    fn write(&mut self, group: &CommitGroup, sync: bool) -> io::Result<Vec<(u64, RecordEntry)>> {
        let Some(active) = &mut self.active else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let written = active.write(group);
        if let Err(error) = &written {
            self.segments.report_failure(error);
            self.leave_active(SegmentEnd::WriteFailed);
        } else if sync {
            self.sync_active()?;
        }
        written
    }

    /// Syncs the active segment. If that fails, the segment is never used again.
    fn sync_active(&mut self) -> io::Result<()> {
        let Some(active) = &mut self.active else {
            return Ok(());
        };
        let synced = active.sync(&self.segments);
        if let Err(error) = &synced {
            self.segments.report_failure(error);
            self.leave_active(SegmentEnd::SyncFailed);
        }
        synced
    }

    /// Seals the active segment: nothing is appended to it any more.
    fn leave_active(&mut self, end: SegmentEnd) {
        if let Some(active) = self.active.take() {
            let failed = end != SegmentEnd::Full;
            self.segments.index().seal(active.id(), failed);
            self.unsynced.extend(active.leave(end));
        }
    }

    /// Syncs before a full segment is left, if there is an interval or too many segments wait for
    /// their sync.
    fn sync_before_leaving(
        &mut self,
        lengths: impl Iterator<Item = u64>,
    ) -> Result<(), AppendError> {
        let active = self.active.as_ref();
        let full = active.is_some_and(|active| active.fit(lengths) == 0);
        let interval = matches!(self.segments.options().sync, Sync::Interval(_));
        if full && (interval || self.unsynced.len() >= MAX_UNSYNCED) {
            self.sync()?;
        }
        Ok(())
    }

    /// Returns true if acknowledged records wait for [`Writer::sync`].
    pub(crate) fn is_unsynced(&self) -> bool {
        let active = self.active.as_ref();
        !self.unsynced.is_empty() || active.is_some_and(ActiveSegment::is_unsynced)
    }

    /// Syncs the records that were acknowledged before their sync, wherever they are. A sync that
    /// fails is not done again: its records are moved to another segment.
    ///
    /// # Errors
    /// Fails if that fails, too. Then the records stay where they are, and the next call moves
    /// them.
    pub(crate) fn sync(&mut self) -> Result<(), AppendError> {
        if self.active.as_ref().is_some_and(ActiveSegment::is_unsynced) {
            // If this fails, the segment is among the unsynced ones.
            drop(self.sync_active());
        }
        let mut unsynced = std::mem::take(&mut self.unsynced);
        unsynced.retain_mut(|segment| {
            segment.is_needed(&self.segments) && !segment.sync(&self.segments)
        });
        let mut moved = Ok(());
        for segment in unsynced {
            if moved.is_ok() {
                moved = self.move_records(&segment);
            }
            if moved.is_err() {
                self.unsynced.push(segment);
            }
        }
        moved
    }

    /// Writes the records of a segment whose sync failed once more, from what can be read of them.
    fn move_records(&mut self, segment: &UnsyncedSegment) -> Result<(), AppendError> {
        let records = segment.read(&self.segments)?;
        let mut left = records.as_slice();
        while let Some(first) = left.first() {
            let count = self.make_room(|| left.iter().map(Record::length))?;
            let (now, later) = left.split_at_checked(count).unwrap_or((left, &[]));
            let group = CommitGroup::new(now.to_vec(), first.lsn());
            let entries = self.write(&group, true).map_err(write_error::from_io)?;
            let mut index = self.segments.index();
            for (lsn, entry) in entries {
                index.relocate(lsn, entry);
            }
            drop(index);
            left = later;
        }
        Ok(())
    }
}
