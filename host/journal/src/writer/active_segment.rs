//! The segment that is appended to.

use std::io;
use std::sync::Arc;

use super::commit_group::CommitGroup;
use super::unsynced_segment::UnsyncedSegment;
use crate::format::SECTOR;
use crate::format::record::footprint;
use crate::format::segment::{FIRST, SegmentHeader};
use crate::segments::{RecordEntry, Segments};
use crate::vfs::File;

/// The segment that is appended to.
#[derive(Debug)]
pub(super) struct ActiveSegment {
    header: SegmentHeader,
    file: Arc<dyn File>,
    /// True if the header is written.
    begun: bool,
    /// The offset of the next record.
    tail: u64,
    /// True if the segment is as large as its one batch, and goes with it.
    single: bool,
    /// The first of its records that are acknowledged and not synced.
    first_unsynced: Option<u64>,
}

/// The reason why nothing is appended to a segment any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SegmentEnd {
    /// Nothing more fits.
    Full,
    /// A write failed: it is unknown what the disk did with the bytes.
    WriteFailed,
    /// A sync failed.
    SyncFailed,
}

impl ActiveSegment {
    pub(super) fn new(header: SegmentHeader, file: Arc<dyn File>, single: bool) -> Self {
        Self {
            header,
            file,
            begun: false,
            tail: FIRST,
            single,
            first_unsynced: None,
        }
    }

    pub(super) fn id(&self) -> u64 {
        self.header.id
    }

    /// Returns the number of records of these lengths that fit.
    pub(super) fn fit(&self, lengths: impl Iterator<Item = u64>) -> usize {
        if self.single {
            return usize::from(self.tail == FIRST);
        }
        let mut end = self.tail;
        let fits = |length: &u64| {
            end += footprint(*length);
            end <= self.header.size - SECTOR
        };
        lengths.take_while(fits).count()
    }

    /// Returns true if more than half of the segment is written.
    pub(super) fn is_half_full(&self) -> bool {
        self.tail > self.header.size / 2
    }

    /// Appends records with one write. Returns their places.
    pub(super) fn write(&mut self, group: &CommitGroup) -> io::Result<Vec<(u64, RecordEntry)>> {
        if !self.begun {
            let sector = self.header.encode();
            self.file.write_at(&[&sector], 0)?;
            self.file.write_at(&[&sector], self.header.size - SECTOR)?;
            self.begun = true;
        }
        let headers = group.headers(self.header.salt);
        self.file.write_at(&group.parts(&headers), self.tail)?;
        let entries = group.entries(self.header.id, self.tail);
        self.tail += group.footprint();
        Ok(entries)
    }

    /// Syncs all records of the segment.
    pub(super) fn sync(&mut self, segments: &Segments) -> io::Result<()> {
        segments.sync_file(&*self.file)?;
        self.first_unsynced = None;
        Ok(())
    }

    /// Returns true if a record in it is acknowledged and not synced.
    pub(super) fn is_unsynced(&self) -> bool {
        self.first_unsynced.is_some()
    }

    /// Says that this record is acknowledged, and not synced.
    pub(super) fn note_unsynced(&mut self, lsn: u64) {
        self.first_unsynced.get_or_insert(lsn);
    }

    /// Leaves the segment, and returns what is left to sync. After a write that failed, the records
    /// that were acknowledged before may still be synced, once. After a sync that failed, a second
    /// one would not report it.
    pub(super) fn leave(self, end: SegmentEnd) -> Option<UnsyncedSegment> {
        let file = (end != SegmentEnd::SyncFailed).then_some(self.file);
        let first = self.first_unsynced?;
        Some(UnsyncedSegment::new(&self.header, first, file))
    }
}
