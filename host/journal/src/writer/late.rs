//! Syncs that come after the acknowledgement.

use spandrel_pipeline::journal::Unwritten;
use tokio::time::Instant;

use super::group::{Group, Record};
use super::{Writer, length};
use crate::options::Sync;
use crate::prepare::refusal;
use crate::state::Entry;

impl Writer {
    /// What is left behind in a full segment is synced with it, when anything is at all.
    pub(super) fn sync_before_leaving(
        &mut self,
        lengths: impl Iterator<Item = u64>,
    ) -> Result<(), Unwritten> {
        let full = self.current.as_ref();
        let full = full.is_some_and(|current| current.fit(lengths) == 0);
        if full && matches!(self.shared.options.sync, Sync::Interval(_)) {
            self.sync()?;
        }
        Ok(())
    }

    /// Whether something written waits for [`Writer::sync`].
    pub(crate) fn is_unsynced(&self) -> bool {
        self.synced < self.shared.state().next
    }

    /// Makes durable what was written without a sync. A failure moves it to another segment.
    ///
    /// # Errors
    /// When that fails, too: then the records are where they are.
    pub(crate) fn sync(&mut self) -> Result<(), Unwritten> {
        let next = self.shared.state().next;
        let Some(current) = &self.current else {
            self.synced = next;
            return Ok(());
        };
        if self.synced == next || !current.begun {
            return Ok(());
        }
        let began = Instant::now();
        if let Err(error) = current.file.sync_data() {
            let id = current.header.id;
            self.fence(&error);
            self.relocate(id)?;
        }
        self.shared.counted.synced(began.elapsed());
        self.synced = next;
        Ok(())
    }

    /// Writes records that were not synced once more, from what can be read of them.
    fn relocate(&mut self, from: u64) -> Result<(), Unwritten> {
        let records: Vec<Record> = {
            let state = self.shared.state();
            let records = state.records.range(self.synced..);
            let here = records.filter(|(_, entry)| entry.segment == from);
            let numbers: Vec<(u64, Entry)> =
                here.map(|(number, entry)| (*number, *entry)).collect();
            drop(state);
            let read = |(number, entry): (u64, Entry)| {
                let bytes = crate::read::record(&self.shared, number).ok()?;
                Some(Record::new(number, bytes, entry.items, entry.written))
            };
            numbers.into_iter().filter_map(read).collect()
        };
        let mut left = records.as_slice();
        while !left.is_empty() {
            let count = self.room(|| left.iter().map(|record| length(&record.bytes)))?;
            let (now, later) = left.split_at_checked(count).unwrap_or((left, &[]));
            let group = Group::new(now.to_vec(), self.synced);
            let written = self.write(&group);
            let written = written.and_then(|entries| {
                let file = self.current.as_ref().map(|current| &current.file);
                file.map_or(Ok(()), |file| file.sync_data())?;
                Ok(entries)
            });
            match written {
                Ok(entries) => {
                    let mut state = self.shared.state();
                    for (number, entry) in entries {
                        state.relocate(number, entry);
                    }
                }
                Err(error) => {
                    self.fence(&error);
                    return Err(refusal(error));
                }
            }
            left = later;
        }
        Ok(())
    }
}
