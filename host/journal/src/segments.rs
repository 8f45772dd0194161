//! The state of a log: its segments, and its records that are not finished.

pub(crate) mod allocation;
pub(crate) mod read;
pub(crate) mod scan;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use spandrel_pipeline::journal::{LogFill, Loss, Unfinished};
use tokio::time::Instant;

use crate::counters::{Counted, Quiet, Quota};
use crate::format::checkpoint::Checkpoint;
use crate::format::finished::Finished;
use crate::options::Options;
use crate::vfs::{File, Vfs};

/// The start of the year 2020, before this code was written: a clock that is behind it was not set.
const CLOCK_SET: u64 = 1_577_836_800_000_000_000;

/// The state that the threads of a log share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) vfs: Arc<dyn Vfs>,
    pub(crate) options: Arc<Options>,
    /// The name of the log in log lines: `ingress`, or `egress/` and an exporter.
    pub(crate) name: String,
    pub(crate) dir: PathBuf,
    /// Bytes of `max_bytes` that this log leaves to others.
    pub(crate) reserved: u64,
    pub(crate) quota: Arc<Quota>,
    pub(crate) counted: Arc<Counted>,
    pub(crate) quiet: Quiet,
    /// Limits the lines that say that batches are refused. A line of a failure does not hold them
    /// back.
    pub(crate) quiet_refusals: Quiet,
    pub(crate) state: Mutex<State>,
    /// Notified when a segment has been prepared, or could not be.
    pub(crate) prepared: Condvar,
}

/// A record that is not finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The segment that it is in.
    pub(crate) segment: u64,
    /// The offset in the segment.
    pub(crate) offset: u64,
    /// The length of its payload.
    pub(crate) length: u32,
    pub(crate) items: u64,
    /// The time of writing: nanoseconds since 1970.
    pub(crate) written: u64,
}

/// A segment that has a header.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    pub(crate) size: u64,
    pub(crate) salt: u64,
    /// Records in it that are not finished.
    pub(crate) unfinished: u64,
    /// True if nothing is appended any more.
    pub(crate) sealed: bool,
    /// True if a write or a sync of it failed: it is never used again.
    pub(crate) fenced: bool,
    /// The file, kept open while something is appended. Files of other segments are opened to be
    /// read.
    pub(crate) file: Option<Arc<dyn File>>,
}

/// A segment that can be used at once.
#[derive(Clone, Debug)]
pub(crate) struct Ready {
    pub(crate) id: u64,
    pub(crate) file: Arc<dyn File>,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    /// The number of the next record.
    pub(crate) next: u64,
    /// The number of the first record of this process.
    pub(crate) first_new: u64,
    /// The records that were lost to damage before the log was opened.
    pub(crate) loss: Loss,
    pub(crate) finished: Finished,
    pub(crate) records: BTreeMap<u64, Entry>,
    pub(crate) tried_below: u64,
    pub(crate) attempts: BTreeMap<u64, u8>,
    pub(crate) segments: BTreeMap<u64, Segment>,
    /// The next number for a segment's file.
    pub(crate) next_id: u64,
    /// The next place in the order of segments.
    pub(crate) next_order: u64,
    /// Segments of the usual size that wait for their use.
    pub(crate) ready: VecDeque<Ready>,
    /// True while a segment is being prepared.
    pub(crate) preparing: bool,
    /// The time when the newest record was written. No later record is older, whatever the clock
    /// does.
    pub(crate) last_written: u64,
    /// The time before which no segment is prepared, because the last one could not be.
    pub(crate) prepare_after: Option<Instant>,
    /// True if something is not in the last checkpoint.
    pub(crate) dirty: bool,
    pub(crate) items: u64,
    pub(crate) bytes: u64,
    pub(crate) disk_bytes: u64,
}

impl Shared {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn segment_path(&self, id: u64) -> PathBuf {
        self.dir.join(format!("segment-{id:016x}"))
    }

    pub(crate) fn opened(&self, id: u64, segment: &Segment) -> io::Result<Arc<dyn File>> {
        match &segment.file {
            Some(file) => Ok(Arc::clone(file)),
            None => self.vfs.open(&self.segment_path(id)),
        }
    }

    /// Returns true if the caller should have a segment prepared now. It is then marked as being
    /// prepared.
    pub(crate) fn begin_preparing(&self) -> bool {
        let mut state = self.state();
        let early = state.prepare_after.is_some_and(|at| Instant::now() < at);
        let wanted = state.ready.is_empty() && !state.preparing && !early;
        state.preparing |= wanted;
        wanted
    }

    /// Counts bytes of a new file, for which room was taken.
    pub(crate) fn grew(&self, bytes: u64) {
        self.state().disk_bytes += bytes;
    }

    /// Finishes the records that have expired, and returns the numbers of records and of their
    /// items. Nothing expires while the clock is behind the last record, and no record expires that
    /// was written when the clock was not set: then its age is unknown.
    pub(crate) fn expire(&self) -> (u64, u64) {
        let now = self.vfs.now();
        let oldest = self.options.max_age.and_then(|age| now.checked_sub(age));
        let mut state = self.state();
        let Some(oldest) = oldest
            .map(nanos)
            .filter(|_| nanos(now) >= state.last_written)
        else {
            return (0, 0);
        };
        let is_old = |entry: &Entry| (CLOCK_SET..oldest).contains(&entry.written);
        let expired = state.records.iter().filter(|(_, entry)| is_old(entry));
        let expired: Vec<(u64, u64)> = expired.map(|(n, entry)| (*n, entry.items)).collect();
        for (number, _) in &expired {
            state.finish(*number);
        }
        let items = expired.iter().map(|(_, items)| items).sum();
        (u64::try_from(expired.len()).unwrap_or(u64::MAX), items)
    }

    /// Returns true if a record that was written then has expired. Like [`Shared::expire`], it lets
    /// nothing expire while the age is unknown.
    pub(crate) fn is_expired(&self, written: SystemTime) -> bool {
        let now = self.vfs.now();
        let oldest = self.options.max_age.and_then(|age| now.checked_sub(age));
        let is_old = |oldest| (CLOCK_SET..nanos(oldest)).contains(&nanos(written));
        oldest.is_some_and(is_old) && nanos(now) >= self.state().last_written
    }

    /// Gives back the room of a removed file.
    pub(crate) fn shrank(&self, bytes: u64) {
        let mut state = self.state();
        state.disk_bytes = state.disk_bytes.saturating_sub(bytes);
        self.quota.give_back(bytes);
    }
}

impl State {
    /// Adds a record that is written.
    pub(crate) fn add(&mut self, number: u64, entry: Entry) {
        self.items += entry.items;
        self.bytes += u64::from(entry.length);
        if let Some(segment) = self.segments.get_mut(&entry.segment) {
            segment.unfinished += 1;
        }
        self.records.insert(number, entry);
    }

    /// Finishes a record. Returns true if the record was there and its segment has nothing left to
    /// do.
    pub(crate) fn finish(&mut self, number: u64) -> bool {
        let Some(entry) = self.records.remove(&number) else {
            return false;
        };
        self.finished.insert(number);
        self.attempts.remove(&number);
        self.items = self.items.saturating_sub(entry.items);
        self.bytes = self.bytes.saturating_sub(u64::from(entry.length));
        self.dirty = true;
        self.left(entry.segment)
    }

    /// Moves a record to another place.
    pub(crate) fn relocate(&mut self, number: u64, entry: Entry) {
        let Some(place) = self.records.get_mut(&number) else {
            return;
        };
        let before = std::mem::replace(place, entry);
        if let Some(segment) = self.segments.get_mut(&entry.segment) {
            segment.unfinished += 1;
        }
        self.left(before.segment);
    }

    fn left(&mut self, segment: u64) -> bool {
        let Some(segment) = self.segments.get_mut(&segment) else {
            return false;
        };
        segment.unfinished = segment.unfinished.saturating_sub(1);
        segment.sealed && segment.unfinished == 0
    }

    /// Seals a segment: nothing is appended to it any more.
    pub(crate) fn seal(&mut self, id: u64, fenced: bool) {
        if let Some(segment) = self.segments.get_mut(&id) {
            segment.sealed = true;
            segment.fenced |= fenced;
            segment.file = None;
            self.dirty = true;
        }
    }

    /// Sets the number of attempts for those of these records that are not finished.
    pub(crate) fn set_attempts(&mut self, attempts: &[(u64, u8)]) {
        for (number, tried) in attempts {
            if !self.records.contains_key(number) {
                continue;
            }
            if *tried == u8::from(*number < self.tried_below) {
                self.attempts.remove(number);
            } else {
                self.attempts.insert(*number, *tried);
            }
        }
        self.dirty = true;
    }

    pub(crate) fn attempts(&self, number: u64) -> u8 {
        let floor = u8::from(number < self.tried_below);
        self.attempts.get(&number).copied().unwrap_or(floor)
    }

    pub(crate) fn unfinished(&self, from: u64, most: usize) -> Vec<Unfinished> {
        let records = self.records.range(from..).take(most);
        let records = records.map(|(number, entry)| Unfinished {
            record: *number,
            items: entry.items,
            bytes: usize::try_from(entry.length).unwrap_or(usize::MAX),
            attempts: self.attempts(*number),
            written: time(entry.written),
        });
        records.collect()
    }

    pub(crate) fn fill(&self) -> LogFill {
        LogFill {
            records: u64::try_from(self.records.len()).unwrap_or(u64::MAX),
            items: self.items,
            bytes: self.bytes,
            disk_bytes: self.disk_bytes,
        }
    }

    pub(crate) fn checkpoint(&self, generation: u64, clean: bool) -> Checkpoint {
        Checkpoint {
            generation,
            clean,
            next: self.next,
            finished: self.finished.clone(),
            tried_below: self.tried_below,
            attempts: self
                .attempts
                .iter()
                .map(|(n, tried)| (*n, *tried))
                .collect(),
        }
    }
}

/// Returns nanoseconds since 1970.
pub(crate) fn nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    let nanos = since.unwrap_or_default().as_nanos();
    u64::try_from(nanos).unwrap_or(u64::MAX)
}

/// Returns the time that is this many nanoseconds after 1970.
pub(crate) fn time(nanos: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_nanos(nanos)
}
