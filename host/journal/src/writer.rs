//! Appends records: many records, one write, one sync.

mod group;
pub(crate) mod queue;
pub(crate) mod thread;
mod unsynced;

use std::io;
use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use spandrel_pipeline::journal::Unwritten;
use tokio::time::Instant;

use crate::counters::add;
use crate::format::{FIRST, MAX_PAYLOAD, SECTOR, SegmentHeader, footprint};
use crate::options::Sync;
use crate::segments::allocation::{allocate, refusal};
use crate::segments::{Entry, Ready, Segment, Shared};
use crate::vfs::File;
use group::Group;
use unsynced::Behind;

/// A batch that is to become a record.
#[derive(Clone, Debug)]
pub(crate) struct Batch {
    pub(crate) bytes: Bytes,
    pub(crate) items: u64,
}

/// The only writer that appends to a log.
#[derive(Debug)]
pub(crate) struct Writer {
    shared: Arc<Shared>,
    current: Option<Current>,
    /// Segments that were left with records that are not synced, oldest first.
    behind: Vec<Behind>,
    /// The time until which batches are refused, and why. The disk was full or failed, and is not
    /// tried again before.
    refusing: Option<(Instant, Unwritten)>,
    /// True if a log line has said that batches are refused.
    reported: bool,
    /// True if a segment should be prepared.
    pub(crate) wants_segment: bool,
}

/// The segment that is appended to.
#[derive(Debug)]
struct Current {
    header: SegmentHeader,
    file: Arc<dyn File>,
    /// True if the header is written.
    begun: bool,
    /// The offset of the next record.
    tail: u64,
    /// True if the segment is as large as its one batch, and goes with it.
    single: bool,
    /// The first of its records that are acknowledged and not synced.
    unsynced: Option<u64>,
}

impl Current {
    /// Returns the number of these that fit.
    fn fit(&self, lengths: impl Iterator<Item = u64>) -> usize {
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
}

pub(crate) fn length(bytes: &Bytes) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

/// Copies the error, for each sender of a group.
pub(crate) fn again(error: &Unwritten) -> Unwritten {
    match error {
        Unwritten::Full { what } => Unwritten::Full { what },
        Unwritten::Failed(error) => {
            Unwritten::Failed(io::Error::new(error.kind(), error.to_string()))
        }
        Unwritten::Closed => Unwritten::Closed,
    }
}

impl Writer {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            current: None,
            behind: Vec::new(),
            refusing: None,
            reported: false,
            wants_segment: false,
        }
    }

    pub(crate) fn options(&self) -> &crate::options::Options {
        &self.shared.options
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Finishes a record that no sender was told of.
    pub(crate) fn finish(&self, number: u64) {
        self.shared.state().finish(number);
    }

    /// Writes the first of these batches, as many as fit in one segment. Returns the number of
    /// batches that the result is for, and the number of the first record.
    pub(crate) fn commit(&mut self, batches: &[Batch]) -> (usize, Result<u64, Unwritten>) {
        if let Some((until, error)) = &self.refusing
            && Instant::now() < *until
        {
            return (
                batches.len(),
                Err(self.refused(again(error), batches.len())),
            );
        }
        let Some(first) = batches.first() else {
            return (0, Ok(self.shared.state().next));
        };
        if length(&first.bytes) > MAX_PAYLOAD {
            let error = io::Error::from(io::ErrorKind::FileTooLarge);
            return (1, Err(Unwritten::Failed(error)));
        }
        match self.try_commit(batches) {
            Ok((count, number)) => {
                self.refusing = None;
                if std::mem::take(&mut self.reported) {
                    tracing::info!(log = self.shared.name, "journal takes batches again");
                }
                (count, Ok(number))
            }
            Err(error) => {
                self.report(&error);
                let until = Instant::now() + self.shared.options.retry_after;
                self.refusing = Some((until, again(&error)));
                (batches.len(), Err(self.refused(error, batches.len())))
            }
        }
    }

    /// Writes to the current segment and, if that fails, once more to another: a descriptor whose
    /// sync failed is never used again.
    fn try_commit(&mut self, batches: &[Batch]) -> Result<(usize, u64), Unwritten> {
        let now = crate::segments::nanos(self.shared.vfs.now());
        let (next, now) = {
            let mut state = self.shared.state();
            state.last_written = state.last_written.max(now);
            (state.next, state.last_written)
        };
        let mut failed = None;
        for _ in 0..2 {
            let lengths = || batches.iter().map(|batch| length(&batch.bytes));
            self.sync_before_leaving(lengths())?;
            let count = self.room(lengths)?;
            let batches = batches.iter().take(count);
            let records = (next..).zip(batches).map(|(number, batch)| {
                let Batch { bytes, items } = batch.clone();
                group::Record::new(number, bytes, items, now)
            });
            let group = Group::new(records.collect(), next);
            match self.write(&group) {
                Ok(entries) => {
                    self.added(&entries);
                    return Ok((count, next));
                }
                Err(error) => {
                    // With [`Sync::Group`] it may be the sync that failed, but then nothing was
                    // unsynced before. Otherwise the write failed.
                    self.fence(&error, false);
                    failed = Some(error);
                }
            }
        }
        Err(failed.map_or(Unwritten::Closed, refusal))
    }

    /// Makes sure that the first of these lengths fits in the current segment. Returns the number
    /// of those that fit.
    fn room<I: Iterator<Item = u64>>(
        &mut self,
        lengths: impl Fn() -> I,
    ) -> Result<usize, Unwritten> {
        if let Some(current) = &self.current {
            match current.fit(lengths()) {
                0 => self.seal(),
                count => return Ok(count),
            }
        }
        let needed = FIRST + footprint(lengths().next().unwrap_or_default()) + SECTOR;
        let current = self.next_segment(needed)?;
        let count = current.fit(lengths());
        self.current = Some(current);
        Ok(count)
    }

    fn next_segment(&self, needed: u64) -> Result<Current, Unwritten> {
        let usual = self.shared.options.segment();
        let (ready, size) = if needed <= usual {
            let waiting = self.take_ready();
            (
                waiting.map_or_else(|| allocate(&self.shared, usual), Ok)?,
                usual,
            )
        } else {
            let size = needed.next_multiple_of(4096);
            (allocate(&self.shared, size)?, size)
        };
        let Ready { id, file } = ready;
        let salt = self.shared.vfs.salt();
        let mut state = self.shared.state();
        let order = state.next_order;
        state.next_order += 1;
        let segment = Segment {
            size,
            salt,
            unfinished: 0,
            sealed: false,
            fenced: false,
            file: Some(Arc::clone(&file)),
        };
        state.segments.insert(id, segment);
        let header = SegmentHeader {
            id,
            order,
            salt,
            base: state.next,
            size,
        };
        Ok(Current {
            header,
            file,
            begun: false,
            tail: FIRST,
            single: needed > usual,
            unsynced: None,
        })
    }

    /// Takes a segment that is ready, or waits for one that is being prepared.
    fn take_ready(&self) -> Option<Ready> {
        let mut state = self.shared.state();
        while state.ready.is_empty() && state.preparing {
            let waited = self.shared.prepared.wait(state);
            state = waited.unwrap_or_else(PoisonError::into_inner);
        }
        state.ready.pop_front()
    }

    /// Does one write and, with [`Sync::Group`], one sync.
    fn write(&mut self, group: &Group) -> io::Result<Vec<(u64, Entry)>> {
        let Some(current) = &mut self.current else {
            return Err(io::ErrorKind::NotFound.into());
        };
        if !current.begun {
            let sector = current.header.encode();
            current.file.write_at(&[&sector], 0)?;
            current
                .file
                .write_at(&[&sector], current.header.size - SECTOR)?;
            current.begun = true;
        }
        let heads = group.heads(current.header.salt);
        current.file.write_at(&group.parts(&heads), current.tail)?;
        if self.shared.options.sync == Sync::Group {
            let began = Instant::now();
            current.file.sync_data()?;
            self.shared.counted.synced(began.elapsed());
        }
        let entries = group.entries(current.header.id, current.tail);
        current.tail += group.footprint();
        self.wants_segment = current.tail > current.header.size / 2;
        Ok(entries)
    }

    fn added(&mut self, entries: &[(u64, Entry)]) {
        let mut state = self.shared.state();
        for (number, entry) in entries {
            state.add(*number, *entry);
            add(&self.shared.counted.records, 1);
            add(&self.shared.counted.bytes, u64::from(entry.length));
        }
        state.next += u64::try_from(entries.len()).unwrap_or_default();
        state.dirty = true;
        if self.shared.options.sync != Sync::Group
            && let Some(current) = &mut self.current
        {
            let first = entries.first().map(|(number, _)| *number);
            current.unsynced = current.unsynced.or(first);
        }
    }

    /// Seals the current segment, because nothing more fits.
    fn seal(&mut self) {
        if let Some(current) = self.current.take() {
            self.shared.state().seal(current.header.id, false);
            self.leave_behind(current, false);
        }
    }

    /// Makes sure that the current segment is never written to again: it is unknown what a disk did
    /// with a write that failed. Records that were acknowledged in it before may still be synced,
    /// once. If a sync failed, a second one would not report it.
    fn fence(&mut self, error: &io::Error, sync_failed: bool) {
        self.failed(error);
        if let Some(current) = self.current.take() {
            self.shared.state().seal(current.header.id, true);
            self.leave_behind(current, sync_failed);
        }
    }

    fn failed(&self, error: &io::Error) {
        add(&self.shared.counted.failures, 1);
        if let Some(repeated) = self.shared.quiet.repeated() {
            let log = &self.shared.name;
            tracing::error!(log, repeated, %error, "journal segment fenced");
        }
    }

    fn report(&mut self, error: &Unwritten) {
        if let Some(repeated) = self.shared.quiet_refusals.repeated() {
            let log = &self.shared.name;
            tracing::warn!(log, repeated, reason = %error, "journal refuses batches");
            self.reported = true;
        }
    }

    fn refused(&self, error: Unwritten, batches: usize) -> Unwritten {
        if matches!(error, Unwritten::Full { .. }) {
            let batches = u64::try_from(batches).unwrap_or_default();
            add(&self.shared.counted.full, batches);
        }
        error
    }
}
