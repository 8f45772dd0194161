//! A segment whose records were acknowledged before their sync.

use std::sync::Arc;

use spandrel_pipeline::journal::{AppendError, RecordError};

use super::commit_group::Record;
use crate::format::segment::SegmentHeader;
use crate::segments::read::read_record;
use crate::segments::{RecordEntry, Segments};
use crate::vfs::File;

/// A sealed segment with records that are acknowledged and not synced.
#[derive(Debug)]
pub(super) struct UnsyncedSegment {
    id: u64,
    /// The salt of this use of the file.
    salt: u64,
    /// The first of these records.
    first_lsn: u64,
    /// `None` if a sync has failed: then it only helps to write the records once more.
    file: Option<Arc<dyn File>>,
}

impl UnsyncedSegment {
    pub(super) fn new(header: &SegmentHeader, first_lsn: u64, file: Option<Arc<dyn File>>) -> Self {
        Self {
            id: header.id,
            salt: header.salt,
            first_lsn,
            file,
        }
    }

    /// Returns true if it still has records that are not finished.
    pub(super) fn is_needed(&self, segments: &Segments) -> bool {
        segments.index().has_unfinished(self.id, self.salt)
    }

    /// Syncs the segment, unless that has failed before. Returns true if it is on the disk now. If
    /// the sync fails, the segment is not used again.
    pub(super) fn sync(&mut self, segments: &Segments) -> bool {
        let Some(file) = self.file.take() else {
            return false;
        };
        let synced = segments.sync_file(&*file);
        if let Err(error) = &synced {
            segments.report_failure(error);
            segments.index().seal(self.id, true);
        }
        synced.is_ok()
    }

    /// Reads the records that must be written once more.
    pub(super) fn read(&self, segments: &Segments) -> Result<Vec<Record>, AppendError> {
        let found: Vec<(u64, RecordEntry)> = {
            let index = segments.index();
            let records = index.records_from(self.first_lsn);
            records
                .filter(|(_, entry)| entry.segment == self.id)
                .collect()
        };
        let mut records = Vec::new();
        for (lsn, entry) in found {
            match read_record(segments, lsn) {
                Ok(payload) => {
                    let record = Record::new(lsn, payload, entry.items, entry.written_nanos);
                    records.push(record);
                }
                // The record was finished since, or is counted as damaged.
                Err(RecordError::Damaged { .. }) => {}
                Err(RecordError::Failed(error)) => return Err(AppendError::Failed(error)),
            }
        }
        Ok(records)
    }
}
