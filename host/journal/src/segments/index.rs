//! The index of a log: its segments, and its records that are not finished.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use spandrel_pipeline::journal::{LogFill, Loss, UnfinishedRecord};

use crate::format::checkpoint::Checkpoint;
use crate::format::finished::FinishedSet;
use crate::format::segment::SegmentHeader;
use crate::vfs::File;

/// A record that is not finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecordEntry {
    /// The segment that it is in.
    pub(crate) segment: u64,
    /// The offset in the segment.
    pub(crate) offset: u64,
    /// The length of its payload.
    pub(crate) length: u32,
    /// The number of its items.
    pub(crate) items: u64,
    /// The time of writing: nanoseconds since 1970.
    pub(crate) written_nanos: u64,
}

/// A segment that has a header.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    /// The length of its file.
    pub(crate) size: u64,
    /// The salt of this use of the file.
    pub(crate) salt: u64,
    /// Records in it that are not finished.
    pub(crate) unfinished: u64,
    /// True if nothing is appended any more.
    pub(crate) sealed: bool,
    /// True if a write or a sync of it failed: it is never used again.
    pub(crate) failed: bool,
    /// The file, kept open while something is appended. Files of other segments are opened to be
    /// read.
    pub(crate) file: Option<Arc<dyn File>>,
}

/// The segments of a log, and its records that are not finished.
#[derive(Debug, Default)]
pub(crate) struct Index {
    /// The LSN of the next record.
    next_lsn: u64,
    /// The LSN of the first record of this process.
    first_new_lsn: u64,
    /// The records that were lost to damage before the log was opened.
    loss: Loss,
    finished: FinishedSet,
    records: BTreeMap<u64, RecordEntry>,
    tried_below: u64,
    attempts: BTreeMap<u64, u8>,
    segments: BTreeMap<u64, Segment>,
    /// The next place in the order of segments.
    next_order: u64,
    /// The time when the newest record was written.
    last_written: u64,
    items: u64,
    bytes: u64,
}

/// The contents of an index after recovery.
#[derive(Debug, Default)]
pub(crate) struct RestoredIndex {
    /// The LSN of the next record.
    pub(crate) next_lsn: u64,
    /// The records that were lost to damage.
    pub(crate) loss: Loss,
    /// The records that are finished.
    pub(crate) finished: FinishedSet,
    /// All records in the segments, finished or not.
    pub(crate) records: BTreeMap<u64, RecordEntry>,
    /// Records below this LSN were tried at least once, unless `attempts` says otherwise.
    pub(crate) tried_below: u64,
    /// The number of attempts for these records.
    pub(crate) attempts: Vec<(u64, u8)>,
    /// The segments.
    pub(crate) segments: BTreeMap<u64, Segment>,
    /// The next place in the order of segments.
    pub(crate) next_order: u64,
}

impl Index {
    /// Makes the index from what recovery found.
    pub(crate) fn restore(restored: RestoredIndex) -> Self {
        let times = restored.records.values().map(|entry| entry.written_nanos);
        let mut index = Self {
            next_lsn: restored.next_lsn,
            first_new_lsn: restored.next_lsn,
            loss: restored.loss,
            tried_below: restored.tried_below,
            next_order: restored.next_order,
            last_written: times.max().unwrap_or_default(),
            finished: restored.finished,
            segments: restored.segments,
            ..Self::default()
        };
        for (lsn, entry) in restored.records {
            if !index.finished.contains(lsn) {
                index.add(lsn, entry);
            }
        }
        let attempts = restored.attempts.into_iter();
        index.attempts = attempts
            .filter(|(lsn, _)| index.records.contains_key(lsn))
            .collect();
        index
    }

    /// Returns the LSN of the next record.
    pub(crate) fn next_lsn(&self) -> u64 {
        self.next_lsn
    }

    /// Returns the LSN of the first record of this process.
    pub(crate) fn first_new_lsn(&self) -> u64 {
        self.first_new_lsn
    }

    /// Returns the loss to damage before the log was opened.
    pub(crate) fn loss(&self) -> Loss {
        self.loss
    }

    /// Returns the time when the newest record was written.
    pub(crate) fn last_written(&self) -> u64 {
        self.last_written
    }

    /// Returns the time for a record that is written now. No later record is older, whatever the
    /// clock does.
    pub(crate) fn advance_clock(&mut self, now: u64) -> u64 {
        self.last_written = self.last_written.max(now);
        self.last_written
    }

    /// Adds a segment that begins with the next record, and returns its header.
    pub(crate) fn begin_segment(
        &mut self,
        id: u64,
        size: u64,
        salt: u64,
        file: &Arc<dyn File>,
    ) -> SegmentHeader {
        let order = self.next_order;
        self.next_order += 1;
        let segment = Segment {
            size,
            salt,
            unfinished: 0,
            sealed: false,
            failed: false,
            file: Some(Arc::clone(file)),
        };
        self.segments.insert(id, segment);
        SegmentHeader {
            id,
            order,
            salt,
            base_lsn: self.next_lsn,
            size,
        }
    }

    /// Adds the next records, which are written.
    pub(crate) fn append(&mut self, entries: &[(u64, RecordEntry)]) {
        for (lsn, entry) in entries {
            self.add(*lsn, *entry);
        }
        self.next_lsn += u64::try_from(entries.len()).unwrap_or_default();
    }

    fn add(&mut self, lsn: u64, entry: RecordEntry) {
        self.items += entry.items;
        self.bytes += u64::from(entry.length);
        if let Some(segment) = self.segments.get_mut(&entry.segment) {
            segment.unfinished += 1;
        }
        self.records.insert(lsn, entry);
    }

    /// Finishes a record, if it is there.
    pub(crate) fn finish(&mut self, lsn: u64) {
        let Some(entry) = self.records.remove(&lsn) else {
            return;
        };
        self.finished.insert(lsn);
        self.attempts.remove(&lsn);
        self.items = self.items.saturating_sub(entry.items);
        self.bytes = self.bytes.saturating_sub(u64::from(entry.length));
        self.remove_from(entry.segment);
    }

    /// Finishes the records that were written at these times. Returns the numbers of records and of
    /// their items.
    pub(crate) fn finish_written(&mut self, times: Range<u64>) -> (u64, u64) {
        let found = self.records.iter();
        let found = found.filter(|(_, entry)| times.contains(&entry.written_nanos));
        let found: Vec<(u64, u64)> = found.map(|(lsn, entry)| (*lsn, entry.items)).collect();
        for (lsn, _) in &found {
            self.finish(*lsn);
        }
        let items = found.iter().map(|(_, items)| items).sum();
        (u64::try_from(found.len()).unwrap_or(u64::MAX), items)
    }

    /// Moves a record to another place, unless it is finished.
    pub(crate) fn relocate(&mut self, lsn: u64, entry: RecordEntry) {
        let Some(place) = self.records.get_mut(&lsn) else {
            return;
        };
        let before = std::mem::replace(place, entry);
        if let Some(segment) = self.segments.get_mut(&entry.segment) {
            segment.unfinished += 1;
        }
        self.remove_from(before.segment);
    }

    fn remove_from(&mut self, segment: u64) {
        if let Some(segment) = self.segments.get_mut(&segment) {
            segment.unfinished = segment.unfinished.saturating_sub(1);
        }
    }

    /// Seals a segment: nothing is appended to it any more. With `failed` its file is not used
    /// again.
    pub(crate) fn seal(&mut self, id: u64, failed: bool) {
        if let Some(segment) = self.segments.get_mut(&id) {
            segment.sealed = true;
            segment.failed |= failed;
            segment.file = None;
        }
    }

    /// Returns the sealed segments whose records are all finished.
    pub(crate) fn finished_segments(&self) -> Vec<u64> {
        let segments = self.segments.iter();
        let finished = segments.filter(|(_, segment)| segment.sealed && segment.unfinished == 0);
        finished.map(|(id, _)| *id).collect()
    }

    /// Takes a segment out of the index.
    pub(crate) fn remove_segment(&mut self, id: u64) -> Option<Segment> {
        self.segments.remove(&id)
    }

    /// Returns the number of segments.
    pub(crate) fn segment_count(&self) -> usize {
        self.segments.len()
    }

    /// Returns the place of a record that is not finished.
    pub(crate) fn locate(&self, lsn: u64) -> Option<(RecordEntry, &Segment)> {
        let entry = self.records.get(&lsn)?;
        let segment = self.segments.get(&entry.segment)?;
        Some((*entry, segment))
    }

    /// Returns true if a segment has records that are not finished, and its file is still in the
    /// use that this salt belongs to.
    pub(crate) fn has_unfinished(&self, id: u64, salt: u64) -> bool {
        let segment = self.segments.get(&id);
        segment.is_some_and(|segment| segment.salt == salt && segment.unfinished > 0)
    }

    /// Returns the records from this LSN on that are not finished.
    pub(crate) fn records_from(&self, lsn: u64) -> impl Iterator<Item = (u64, RecordEntry)> {
        let records = self.records.range(lsn..);
        records.map(|(lsn, entry)| (*lsn, *entry))
    }

    /// Sets the number of attempts for those of these records that are not finished.
    pub(crate) fn set_attempts(&mut self, attempts: &[(u64, u8)]) {
        for (lsn, tried) in attempts {
            if !self.records.contains_key(lsn) {
                continue;
            }
            if *tried == u8::from(*lsn < self.tried_below) {
                self.attempts.remove(lsn);
            } else {
                self.attempts.insert(*lsn, *tried);
            }
        }
    }

    fn attempts(&self, lsn: u64) -> u8 {
        let floor = u8::from(lsn < self.tried_below);
        self.attempts.get(&lsn).copied().unwrap_or(floor)
    }

    /// Returns true if the number of attempts is kept for any record.
    #[cfg(test)]
    pub(crate) fn has_attempts(&self) -> bool {
        !self.attempts.is_empty()
    }

    /// Returns records that are not finished, from this LSN on, at most `max`.
    pub(crate) fn unfinished(&self, from: u64, max: usize) -> Vec<UnfinishedRecord> {
        let records = self.records_from(from).take(max);
        let records = records.map(|(lsn, entry)| UnfinishedRecord {
            record: lsn,
            items: entry.items,
            bytes: usize::try_from(entry.length).unwrap_or(usize::MAX),
            attempts: self.attempts(lsn),
            written: SystemTime::UNIX_EPOCH + Duration::from_nanos(entry.written_nanos),
        });
        records.collect()
    }

    /// Returns how much is in the log, without the bytes of its files.
    pub(crate) fn fill(&self) -> LogFill {
        LogFill {
            records: u64::try_from(self.records.len()).unwrap_or(u64::MAX),
            items: self.items,
            bytes: self.bytes,
            disk_bytes: 0,
        }
    }

    /// Returns the checkpoint of this moment.
    pub(crate) fn checkpoint(&self, generation: u64, clean: bool) -> Checkpoint {
        let attempts = self.attempts.iter();
        Checkpoint {
            generation,
            clean,
            next_lsn: self.next_lsn,
            finished: self.finished.clone(),
            tried_below: self.tried_below,
            attempts: attempts.map(|(lsn, tried)| (*lsn, *tried)).collect(),
        }
    }
}
