//! Rebuilds the index of a log from its files.

use std::collections::{BTreeMap, BTreeSet};

use spandrel_pipeline::journal::Loss;

use super::LogRecovery;
use super::files::{LogFiles, SegmentFile};
use super::scan::{SegmentScan, load, scan};
use crate::format::checkpoint::Checkpoint;
use crate::format::finished::FinishedSet;
use crate::format::record::{RecordHeader, footprint};
use crate::segments::{Index, RecordEntry, RestoredIndex, Segment, Segments};

/// The distance in the order between segments that were not read and those begun after them. It is
/// more than are begun between one that stays and the last.
const ORDERS_APART: u64 = 1 << 32;

/// The contents of a log's files, from which its index is made.
pub(super) struct Rebuild<'a> {
    files: &'a LogFiles,
    /// `None` if no checkpoint is good.
    checkpoint: Option<Checkpoint>,
    /// Each good record, at its place in the last segment that may have it.
    records: BTreeMap<u64, RecordEntry>,
    /// Records with a good header and a payload that is not as it was written.
    broken: Vec<RecordHeader>,
    /// Segments that the disk could read only in part.
    unread: BTreeSet<u64>,
    /// All records below this LSN were acknowledged.
    commit_lsn: u64,
    /// The LSN of the next record.
    next_lsn: u64,
}

impl<'a> Rebuild<'a> {
    /// Reads every segment from its beginning to its end.
    pub(super) fn scan(segments: &Segments, files: &'a LogFiles) -> Self {
        let checkpoint = files.checkpoint();
        let mut rebuild = Self {
            files,
            records: BTreeMap::new(),
            broken: Vec::new(),
            unread: BTreeSet::new(),
            commit_lsn: checkpoint.as_ref().map_or(0, |found| found.next_lsn),
            next_lsn: 0,
            checkpoint,
        };
        // A later segment began with an LSN because the records of an earlier one from there on
        // failed to be written, or were only being written.
        let mut limits = Vec::new();
        let mut limit = u64::MAX;
        for segment in files.segments().iter().rev() {
            limits.push(limit);
            limit = limit.min(segment.header.base_lsn);
        }
        let mut bytes = Vec::new();
        for (segment, limit) in files.segments().iter().zip(limits.into_iter().rev()) {
            let length = segment.length.min(segment.header.size);
            if !load(&*segment.file, length, &mut bytes) {
                rebuild.unread.insert(segment.header.id);
            }
            rebuild.add(segment, scan(&bytes, &segment.header), limit);
        }
        let last = rebuild.records.keys().next_back();
        let next = last.map_or(0, |last| last + 1).max(rebuild.commit_lsn);
        rebuild.next_lsn = rebuild.base_lsns().fold(next, u64::max);
        let (log, segments) = (segments.name(), files.segments().len());
        tracing::debug!(log, segments, "journal segments read");
        rebuild
    }

    fn add(&mut self, segment: &SegmentFile, scan: SegmentScan, limit: u64) {
        for (offset, record) in scan.records {
            self.commit_lsn = self.commit_lsn.max(record.commit_lsn);
            if record.lsn < limit {
                let entry = RecordEntry {
                    segment: segment.header.id,
                    offset,
                    length: record.length,
                    items: record.items,
                    written_nanos: record.written_nanos,
                };
                self.records.insert(record.lsn, entry);
            }
        }
        for record in scan.broken {
            self.commit_lsn = self.commit_lsn.max(record.commit_lsn);
            if record.lsn < limit {
                self.broken.push(record);
            }
        }
    }

    fn base_lsns(&self) -> impl Iterator<Item = u64> {
        let segments = self.files.segments().iter();
        segments.map(|segment| segment.header.base_lsn)
    }

    /// Makes the index, and reports what is missing.
    pub(super) fn index(self, report: &mut LogRecovery) -> Index {
        let checkpoint = self.checkpoint.as_ref();
        let clean = checkpoint.is_some_and(|found| found.clean && found.next_lsn == self.next_lsn);
        report.ended_well = self.files.is_new() || clean;
        report.unread = self.files.unread() + u64::try_from(self.unread.len()).unwrap_or_default();
        let finished = self.finished(report);
        self.report_torn(report);
        let loss = Loss {
            items: report.lost_items,
            records: report.lost_without_items,
            doubtful: report.doubtful + report.damaged_headers + report.unread,
        };
        let next_order = self.next_order();
        let segments = self.segments();
        let checkpoint = self.checkpoint.unwrap_or_default();
        let tried_below = if report.ended_well {
            checkpoint.tried_below
        } else {
            self.next_lsn
        };
        Index::restore(RestoredIndex {
            next_lsn: self.next_lsn,
            loss,
            finished,
            records: self.records,
            tried_below,
            attempts: checkpoint.attempts,
            segments,
            next_order,
        })
    }

    /// Returns the records below the next LSN that are finished, including those that are lost.
    fn finished(&self, report: &mut LogRecovery) -> FinishedSet {
        let mut finished = match &self.checkpoint {
            Some(checkpoint) => checkpoint.finished.clone(),
            None => {
                // Records before everything that was found were given up with their segments.
                let moved = self.broken.iter().map(|record| record.lsn);
                let found = self.base_lsns().chain(moved);
                let oldest = found.chain(self.records.keys().copied()).min();
                FinishedSet::below(oldest.unwrap_or_default())
            }
        };
        let mut known = finished.clone();
        for lsn in self.records.keys() {
            known.insert(*lsn);
        }
        let broken = self.broken.iter();
        let items: BTreeMap<u64, u64> = broken.map(|record| (record.lsn, record.items)).collect();
        for (start, end) in known.gaps(self.next_lsn) {
            let missing = end.min(self.commit_lsn).saturating_sub(start);
            if report.unread > 0 {
                // These records may be in what was not read. Then they are there at the next start.
                report.unread_records += missing;
                continue;
            }
            report.lost += missing;
            let mut found = 0;
            for (_, items) in items.range(start..start + missing) {
                report.lost_items += items;
                found += 1;
            }
            report.lost_without_items += missing.saturating_sub(found);
            finished.insert_range(start, end);
        }
        finished
    }

    /// Reports the broken records that nobody was told of.
    fn report_torn(&self, report: &mut LogRecovery) {
        let broken = self.broken.iter();
        let torn = broken.filter(|record| record.lsn >= self.commit_lsn);
        let doubtful: BTreeSet<u64> = torn.clone().map(|record| record.lsn).collect();
        report.doubtful = doubtful.len() as u64;
        report.torn_bytes = torn.map(|record| footprint(u64::from(record.length))).sum();
    }

    fn next_order(&self) -> u64 {
        let last = self.files.segments().last();
        let next = last.map_or(0, |segment| segment.header.order + 1);
        if self.files.unread() > 0 {
            // One of these may have a later place in the order than all that were read.
            next.saturating_add(ORDERS_APART)
        } else {
            next
        }
    }

    fn segments(&self) -> BTreeMap<u64, Segment> {
        let segment = |found: &SegmentFile| {
            let id = found.header.id;
            let segment = Segment {
                size: found.length,
                salt: found.header.salt,
                // A part that was not read holds the segment as a record does.
                unfinished: u64::from(self.unread.contains(&id)),
                sealed: true,
                failed: false,
                file: None,
            };
            (id, segment)
        };
        self.files.segments().iter().map(segment).collect()
    }
}
