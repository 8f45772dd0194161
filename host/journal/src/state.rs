//! What a log knows: its segments, and its records that are not finished.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use spandrel_pipeline::journal::{LogFill, Loss, Unfinished};
use tokio::time::Instant;

use crate::counters::{Counted, Quiet, Quota};
use crate::finished::Finished;
use crate::format::checkpoint::Checkpoint;
use crate::options::Options;
use crate::vfs::{File, Vfs};

/// The year 2020, before this code was written: a clock that is behind it was not set.
const CLOCK_SET: u64 = 1_577_836_800_000_000_000;

/// What the threads of a log share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) vfs: Arc<dyn Vfs>,
    pub(crate) options: Arc<Options>,
    /// What it is called in logs: `ingress`, or `egress/` and an exporter.
    pub(crate) name: String,
    pub(crate) dir: PathBuf,
    /// Bytes of `max_bytes` that this log leaves to others.
    pub(crate) reserved: u64,
    pub(crate) quota: Arc<Quota>,
    pub(crate) counted: Arc<Counted>,
    pub(crate) quiet: Quiet,
    /// For the lines that say that batches are refused, which need no line of a failure before.
    pub(crate) quiet_refusals: Quiet,
    pub(crate) state: Mutex<State>,
    /// Told when a segment has been prepared, or could not be.
    pub(crate) prepared: Condvar,
}

/// A record that is not finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The segment it is in.
    pub(crate) segment: u64,
    /// Where it begins there.
    pub(crate) offset: u64,
    /// Length of its payload.
    pub(crate) length: u32,
    pub(crate) items: u64,
    /// Nanoseconds since 1970.
    pub(crate) written: u64,
}

/// A segment that has a header.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    pub(crate) size: u64,
    pub(crate) salt: u64,
    /// Records in it that are not finished.
    pub(crate) unfinished: u64,
    /// Nothing is appended any more.
    pub(crate) sealed: bool,
    /// A write or a sync of it failed: it is never used again.
    pub(crate) fenced: bool,
    /// Kept open while something is appended; others are opened to be read.
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
    /// What was lost to damage before it was opened.
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
    /// Somebody prepares one.
    pub(crate) preparing: bool,
    /// When the newest record was written: no later one is older, whatever the clock does.
    pub(crate) last_written: u64,
    /// The last one could not be prepared: not before.
    pub(crate) prepare_after: Option<Instant>,
    /// Something is not in the last checkpoint.
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

    /// Whether the caller should have a segment prepared now.
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

    /// Finishes what is older than it may become: records, and their items. None while the clock
    /// is behind the last record, or of a record from when it was not set: then nobody knows how
    /// old one is.
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

    /// Whether what was written then is older than it may become. As for [`Shared::expire`], not
    /// while nobody knows.
    pub(crate) fn is_expired(&self, written: SystemTime) -> bool {
        let now = self.vfs.now();
        let oldest = self.options.max_age.and_then(|age| now.checked_sub(age));
        let is_old = |oldest| (CLOCK_SET..nanos(oldest)).contains(&nanos(written));
        oldest.is_some_and(is_old) && nanos(now) >= self.state().last_written
    }

    /// Gives the room of a removed file back.
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

    /// Whether the record was there and its segment has nothing left to do.
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

    /// A record is somewhere else now.
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

    /// Nothing is appended to this segment any more.
    pub(crate) fn seal(&mut self, id: u64, fenced: bool) {
        if let Some(segment) = self.segments.get_mut(&id) {
            segment.sealed = true;
            segment.fenced |= fenced;
            segment.file = None;
            self.dirty = true;
        }
    }

    /// Says how often these were tried, of those that are not finished.
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

/// Nanoseconds since 1970.
pub(crate) fn nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    let nanos = since.unwrap_or_default().as_nanos();
    u64::try_from(nanos).unwrap_or(u64::MAX)
}

/// The time of so many nanoseconds since 1970.
pub(crate) fn time(nanos: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_nanos(nanos)
}
