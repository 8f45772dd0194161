//! Syncs that come after the acknowledgement.

use std::sync::Arc;

use spandrel_pipeline::journal::{Unreadable, Unwritten};
use tokio::time::Instant;

use super::group::{Group, Record};
use super::{Current, Writer, length};
use crate::options::Sync;
use crate::segments::Entry;
use crate::segments::allocation::refusal;
use crate::vfs::File;

/// The most segments that wait for their sync. Each is an open file, and the system itself has
/// brought to the disk what is older than a thousand usual requests.
const MOST_BEHIND: usize = 64;

/// A segment that was left with records that are acknowledged and not synced.
#[derive(Debug)]
pub(super) struct Behind {
    id: u64,
    /// The salt of this use of the file.
    salt: u64,
    /// The first of these records.
    from: u64,
    /// `None` if a sync has failed: then it only helps to write the records once more.
    file: Option<Arc<dyn File>>,
}

impl Writer {
    /// Syncs before a full segment is left, if there is an interval or too many segments wait for
    /// their sync.
    pub(super) fn sync_before_leaving(
        &mut self,
        lengths: impl Iterator<Item = u64>,
    ) -> Result<(), Unwritten> {
        let full = self.current.as_ref();
        let full = full.is_some_and(|current| current.fit(lengths) == 0);
        let late = matches!(self.shared.options.sync, Sync::Interval(_));
        if full && (late || self.behind.len() >= MOST_BEHIND) {
            self.sync()?;
        }
        Ok(())
    }

    pub(super) fn leave_behind(&mut self, current: Current, sync_failed: bool) {
        if let Some(from) = current.unsynced {
            self.behind.push(Behind {
                id: current.header.id,
                salt: current.header.salt,
                from,
                file: (!sync_failed).then_some(current.file),
            });
        }
    }

    /// Returns true if written records wait for [`Writer::sync`].
    pub(crate) fn is_unsynced(&self) -> bool {
        let current = self.current.as_ref();
        !self.behind.is_empty() || current.is_some_and(|current| current.unsynced.is_some())
    }

    /// Makes durable what was written without a sync, wherever it is. A sync that fails is not done
    /// again: its records are moved to another segment.
    ///
    /// # Errors
    /// Fails if that fails, too. Then the records stay where they are, and the next call moves
    /// them.
    pub(crate) fn sync(&mut self) -> Result<(), Unwritten> {
        if let Some(current) = &self.current
            && current.unsynced.is_some()
        {
            match self.sync_file(&*current.file) {
                Ok(()) => self.current_is_synced(),
                Err(error) => self.fence(&error, true),
            }
        }
        let mut behind = std::mem::take(&mut self.behind);
        behind.retain_mut(|behind| self.is_wanted(behind) && !self.sync_behind(behind));
        let mut moved = Ok(());
        for behind in behind {
            if moved.is_ok() {
                moved = self.relocate(&behind);
            }
            if moved.is_err() {
                self.behind.push(behind);
            }
        }
        moved
    }

    /// Syncs a segment that was left behind, unless that has failed before. Returns true if it is
    /// on the disk now.
    fn sync_behind(&self, behind: &mut Behind) -> bool {
        let Some(file) = behind.file.take() else {
            return false;
        };
        let synced = self.sync_file(&*file);
        if let Err(error) = &synced {
            self.failed(error);
            self.shared.state().seal(behind.id, true);
        }
        synced.is_ok()
    }

    fn current_is_synced(&mut self) {
        if let Some(current) = &mut self.current {
            current.unsynced = None;
        }
    }

    fn sync_file(&self, file: &dyn File) -> std::io::Result<()> {
        let began = Instant::now();
        file.sync_data()?;
        self.shared.counted.synced(began.elapsed());
        Ok(())
    }

    /// Returns true if the segment still has records that are not finished.
    fn is_wanted(&self, behind: &Behind) -> bool {
        let state = self.shared.state();
        let segment = state.segments.get(&behind.id);
        segment.is_some_and(|segment| segment.salt == behind.salt && segment.unfinished > 0)
    }

    /// Writes the records that were left behind once more, from what can be read of them.
    fn relocate(&mut self, behind: &Behind) -> Result<(), Unwritten> {
        let records = self.read_behind(behind)?;
        let mut left = records.as_slice();
        while let Some(first) = left.first() {
            let count = self.room(|| left.iter().map(|record| length(&record.bytes)))?;
            let (now, later) = left.split_at_checked(count).unwrap_or((left, &[]));
            let group = Group::new(now.to_vec(), first.number);
            let entries = self.write(&group).map_err(|error| {
                self.fence(&error, false);
                refusal(error)
            })?;
            let current = self.current.as_ref();
            let synced = current.map_or(Ok(()), |current| self.sync_file(&*current.file));
            if let Err(error) = synced {
                self.fence(&error, true);
                return Err(refusal(error));
            }
            self.current_is_synced();
            let mut state = self.shared.state();
            for (number, entry) in entries {
                state.relocate(number, entry);
            }
            drop(state);
            left = later;
        }
        Ok(())
    }

    fn read_behind(&self, behind: &Behind) -> Result<Vec<Record>, Unwritten> {
        let found: Vec<(u64, Entry)> = {
            let state = self.shared.state();
            let records = state.records.range(behind.from..);
            let here = records.filter(|(_, entry)| entry.segment == behind.id);
            here.map(|(number, entry)| (*number, *entry)).collect()
        };
        let mut records = Vec::new();
        for (number, entry) in found {
            match crate::segments::read::record(&self.shared, number) {
                Ok(bytes) => {
                    records.push(Record::new(number, bytes, entry.items, entry.written));
                }
                // The record was finished since, or is counted as damaged.
                Err(Unreadable::Damaged { .. }) => {}
                Err(Unreadable::Failed(error)) => return Err(Unwritten::Failed(error)),
            }
        }
        Ok(records)
    }
}
