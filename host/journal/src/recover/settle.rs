//! From what was found to what there is.

use std::collections::BTreeMap;

use super::files::{Files, Live};
use super::{RecoveredLog, oldest};
use crate::counters::add;
use crate::format::checkpoint::Checkpoint;
use crate::format::{RecordHeader, footprint};
use crate::scan::{Found, load, scan};
use crate::state::{Entry, Segment, Shared, nanos};
use crate::store::OpenError;

/// What all segments have.
pub(super) struct Scanned {
    /// The record with each number, and where it is: in the last segment that may have it.
    good: BTreeMap<u64, (u64, u64, RecordHeader)>,
    broken: Vec<RecordHeader>,
    /// All numbers below were acknowledged.
    promised: u64,
}

/// Reads every segment from its beginning to its end.
pub(super) fn scan_all(shared: &Shared, files: &Files) -> Result<Scanned, OpenError> {
    let mut scanned = Scanned {
        good: BTreeMap::new(),
        broken: Vec::new(),
        promised: 0,
    };
    // A later segment that begins with a number was begun because what an earlier one has from
    // there on failed to be written, or was only being written.
    let mut limits = Vec::new();
    let mut limit = u64::MAX;
    for live in files.segments.iter().rev() {
        limits.push(limit);
        limit = limit.min(live.header.base);
    }
    let mut bytes = Vec::new();
    for (live, limit) in files.segments.iter().zip(limits.into_iter().rev()) {
        load(&*live.file, live.length.min(live.header.size), &mut bytes);
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

/// Fills the state, and says what is missing.
pub(super) fn settle(
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

    let mut finished = checkpoint.finished.clone();
    if files.checkpoint.is_none() {
        // What is before everything we have was given up with its segments.
        let oldest = files.segments.iter().map(|live| live.header.base).min();
        finished.insert_range(0, oldest.unwrap_or_default());
    }
    let mut known = finished.clone();
    for number in scanned.good.keys() {
        known.insert(*number);
    }
    for (start, end) in known.gaps(next) {
        report.lost += end.min(promised).saturating_sub(start);
        finished.insert_range(start, end);
    }
    let torn = scanned.broken.iter();
    let torn = torn.filter(|record| record.number >= promised);
    report.torn_bytes = torn.map(|record| footprint(u64::from(record.length))).sum();
    add(&shared.counted.damaged, report.lost);

    let mut state = shared.state();
    state.next = next;
    state.first_new = next;
    state.finished = finished;
    state.next_order = files
        .segments
        .last()
        .map_or(0, |live| live.header.order + 1);
    state.attempts = checkpoint.attempts.iter().copied().collect();
    state.tried_below = if report.ended_well {
        checkpoint.tried_below
    } else {
        next
    };
    for live in &files.segments {
        let segment = Segment {
            size: live.length,
            salt: live.header.salt,
            unfinished: 0,
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
    let kept: Vec<u64> = state.attempts.keys().copied().collect();
    for number in kept {
        if !state.records.contains_key(&number) {
            state.attempts.remove(&number);
        }
    }
    count(&state.fill(), report);
}

fn count(fill: &spandrel_pipeline::journal::LogFill, report: &mut RecoveredLog) {
    report.records = fill.records;
    report.items = fill.items;
    report.bytes = fill.bytes;
}

/// Finishes what is older than it may become.
pub(super) fn expire(shared: &Shared, report: &mut RecoveredLog) {
    let Some(oldest) = oldest(shared).map(nanos) else {
        return;
    };
    let mut state = shared.state();
    let expired = state.records.iter();
    let expired = expired.filter(|(_, entry)| entry.written < oldest);
    let expired: Vec<(u64, u64)> = expired.map(|(n, entry)| (*n, entry.items)).collect();
    for (number, items) in expired {
        state.finish(number);
        report.expired += 1;
        report.expired_items += items;
    }
    count(&state.fill(), report);
}
