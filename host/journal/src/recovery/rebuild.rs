//! Derives the state of a log from what was found in its files.

use std::collections::{BTreeMap, BTreeSet};

use super::files::{Files, Live};
use super::{OpenError, RecoveredLog};
use spandrel_pipeline::journal::Loss;

use crate::counters::add;
use crate::format::checkpoint::Checkpoint;
use crate::format::finished::Finished;
use crate::format::{RecordHeader, footprint};
use crate::segments::scan::{Found, load, scan};
use crate::segments::{Entry, Segment, Shared, State};

/// The distance in the order between segments that were not read and those begun after them. It is
/// more than are begun between one that stays and the last.
const ORDERS_APART: u64 = 1 << 32;

/// The contents of all segments.
pub(super) struct Scanned {
    /// Each record by its number, with its place in the last segment that may have it.
    good: BTreeMap<u64, (u64, u64, RecordHeader)>,
    broken: Vec<RecordHeader>,
    /// Segments that the disk could read only in part.
    unread: BTreeSet<u64>,
    /// All records below this number were acknowledged.
    promised: u64,
}

/// Reads every segment from its beginning to its end.
pub(super) fn scan_all(shared: &Shared, files: &Files) -> Result<Scanned, OpenError> {
    let mut scanned = Scanned {
        good: BTreeMap::new(),
        broken: Vec::new(),
        unread: BTreeSet::new(),
        promised: 0,
    };
    // A later segment began with a number because the records of an earlier one from there on
    // failed to be written, or were only being written.
    let mut limits = Vec::new();
    let mut limit = u64::MAX;
    for live in files.segments.iter().rev() {
        limits.push(limit);
        limit = limit.min(live.header.base);
    }
    let mut bytes = Vec::new();
    for (live, limit) in files.segments.iter().zip(limits.into_iter().rev()) {
        if !load(&*live.file, live.length.min(live.header.size), &mut bytes) {
            scanned.unread.insert(live.header.id);
        }
        scanned.take(live, scan(&bytes, &live.header), limit);
    }
    let (name, segments) = (&shared.name, files.segments.len());
    tracing::debug!(log = name, segments, "journal segments read");
    Ok(scanned)
}

impl Scanned {
    fn take(&mut self, live: &Live, found: Found, limit: u64) {
        for (offset, record) in found.records {
            self.promised = self.promised.max(record.promised);
            if record.number < limit {
                let place = (live.header.id, offset, record);
                self.good.insert(record.number, place);
            }
        }
        for record in found.broken {
            self.promised = self.promised.max(record.promised);
            if record.number < limit {
                self.broken.push(record);
            }
        }
    }
}

/// Fills the state, and reports what is missing.
pub(super) fn rebuild(
    shared: &Shared,
    files: &Files,
    checkpoint: &Checkpoint,
    scanned: &Scanned,
    report: &mut RecoveredLog,
) {
    let promised = scanned.promised.max(checkpoint.next);
    let bases = files.segments.iter().map(|live| live.header.base);
    let last = scanned.good.keys().next_back();
    let next = last.map_or(0, |last| last + 1).max(promised);
    let next = bases.fold(next, u64::max);
    let new = files.segments.is_empty() && files.checkpoint.is_none() && files.damaged == 0;
    report.ended_well = new || (checkpoint.clean && next == checkpoint.next);

    let finished = finished(files, checkpoint, scanned, (next, promised), report);
    let torn = scanned.broken.iter();
    let torn = torn.filter(|record| record.number >= promised);
    let doubtful: BTreeSet<u64> = torn.clone().map(|record| record.number).collect();
    report.doubtful = doubtful.len() as u64;
    report.torn_bytes = torn.map(|record| footprint(u64::from(record.length))).sum();
    add(&shared.counted.damaged, report.lost);

    let mut state = shared.state();
    state.next = next;
    state.first_new = next;
    state.loss = Loss {
        items: report.lost_items,
        records: report.lost_without_items,
        doubtful: report.doubtful + report.damaged_headers + report.unread,
    };
    state.finished = finished;
    state.next_order = files
        .segments
        .last()
        .map_or(0, |live| live.header.order + 1);
    if files.unread > 0 {
        // One of these may have a later place in the order than all that were read.
        state.next_order = state.next_order.saturating_add(ORDERS_APART);
    }
    state.attempts = checkpoint.attempts.iter().copied().collect();
    state.tried_below = if report.ended_well {
        checkpoint.tried_below
    } else {
        next
    };
    place(&mut state, files, scanned);
    let times = scanned.good.values().map(|(_, _, record)| record.written);
    state.last_written = times.max().unwrap_or_default();
    let kept: Vec<u64> = state.attempts.keys().copied().collect();
    for number in kept {
        if !state.records.contains_key(&number) {
            state.attempts.remove(&number);
        }
    }
    count(&state.fill(), report);
}

/// Returns the numbers below `next` that are finished, including those that are lost. All below
/// `promised` were acknowledged.
fn finished(
    files: &Files,
    checkpoint: &Checkpoint,
    scanned: &Scanned,
    (next, promised): (u64, u64),
    report: &mut RecoveredLog,
) -> Finished {
    let mut finished = checkpoint.finished.clone();
    if files.checkpoint.is_none() {
        // Records before everything that was found were given up with their segments.
        let bases = files.segments.iter().map(|live| live.header.base);
        let moved = scanned.broken.iter().map(|record| record.number);
        let oldest = bases.chain(moved).chain(scanned.good.keys().copied()).min();
        finished.insert_range(0, oldest.unwrap_or_default());
    }
    let mut known = finished.clone();
    for number in scanned.good.keys() {
        known.insert(*number);
    }
    let unread = u64::try_from(scanned.unread.len()).unwrap_or_default();
    report.unread = files.unread + unread;
    let broken = scanned.broken.iter();
    let items: BTreeMap<u64, u64> = broken.map(|it| (it.number, it.items)).collect();
    for (start, end) in known.gaps(next) {
        let missing = end.min(promised).saturating_sub(start);
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

/// Adds the segments, and the records in them that are not finished.
fn place(state: &mut State, files: &Files, scanned: &Scanned) {
    for live in &files.segments {
        let segment = Segment {
            size: live.length,
            salt: live.header.salt,
            // A part that was not read holds the segment as a record does.
            unfinished: u64::from(scanned.unread.contains(&live.header.id)),
            sealed: true,
            fenced: false,
            file: None,
        };
        state.segments.insert(live.header.id, segment);
    }
    for (number, (segment, offset, record)) in &scanned.good {
        if !state.finished.contains(*number) {
            let entry = Entry {
                segment: *segment,
                offset: *offset,
                length: record.length,
                items: record.items,
                written: record.written,
            };
            state.add(*number, entry);
        }
    }
}

fn count(fill: &spandrel_pipeline::journal::LogFill, report: &mut RecoveredLog) {
    report.records = fill.records;
    report.items = fill.items;
    report.bytes = fill.bytes;
}

/// Finishes the records that have expired.
pub(super) fn expire(shared: &Shared, report: &mut RecoveredLog) {
    let (expired, items) = shared.expire();
    report.expired += expired;
    report.expired_items += items;
    count(&shared.state().fill(), report);
}
