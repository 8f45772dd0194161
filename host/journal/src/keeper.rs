//! Writes checkpoints, and reclaims segments.
//!
//! Four slots hold checkpoints. Two are written and synced one after the other before a segment is
//! given up, so that one of them is good whatever happens. The other two are written in turn
//! without a sync ten times a second, which is enough to survive the death of the process.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::format::checkpoint::Checkpoint;
use crate::prepare::is_full;
use crate::state::{Ready, Segment, Shared};
use crate::vfs::File;

/// The number of checkpoint slots. The first two are synced.
pub(crate) const SLOTS: usize = 4;

/// The most segments that are kept for their next use instead of being removed: as many as a fast
/// disk fills between two checkpoints.
const MOST_READY: usize = 4;

/// Returns the name of a slot's file.
pub(crate) fn slot_name(slot: usize) -> String {
    format!("checkpoint-{slot}")
}

/// The only writer of a log's checkpoints.
#[derive(Debug)]
pub(crate) struct Keeper {
    shared: Arc<Shared>,
    generation: u64,
    synced: [Slot; 2],
    unsynced: [Slot; 2],
}

#[derive(Debug)]
pub(crate) struct Slot {
    path: PathBuf,
    /// `None` if the file must be made anew.
    file: Option<Arc<dyn File>>,
    length: u64,
}

impl Slot {
    /// Makes a slot from the file that was found for it.
    pub(crate) fn new(path: PathBuf, file: Option<Arc<dyn File>>, length: u64) -> Self {
        Self { path, file, length }
    }

    /// Writes a checkpoint. If the disk is full, it removes segments that wait for their next use
    /// to make room, because other segments cannot be given up without a checkpoint.
    fn write(&mut self, shared: &Shared, bytes: &[u8], sync: bool) -> io::Result<()> {
        loop {
            match self.try_write(shared, bytes, sync) {
                Err(error) if is_full(&error) && remove_ready(shared) => {}
                written => return written,
            }
        }
    }

    fn try_write(&mut self, shared: &Shared, bytes: &[u8], sync: bool) -> io::Result<()> {
        let file = match &self.file {
            Some(file) => Arc::clone(file),
            None => self.make(shared)?,
        };
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if length > self.length {
            let room = length.next_power_of_two().max(shared.options.slot());
            // Without room for spare bytes, the file is as long as it must be.
            let room = file.allocate(room).map_or(length, |()| room);
            shared.quota.count(room - self.length);
            shared.grew(room - self.length);
            self.length = room;
        }
        let mut written = file.write_at(&[bytes], 0);
        if sync && written.is_ok() {
            written = file.sync_data();
        }
        // The file is made anew the next time: a descriptor that failed to sync cannot be trusted.
        self.file = (written.is_ok() || !sync).then_some(file);
        written
    }

    fn make(&mut self, shared: &Shared) -> io::Result<Arc<dyn File>> {
        match shared.vfs.remove(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        shared.shrank(std::mem::take(&mut self.length));
        let file = shared.vfs.create(&self.path)?;
        shared.vfs.sync_dir(&shared.dir)?;
        Ok(file)
    }
}

/// Removes a segment that is not in use. Returns true if there was one and it was removed.
fn remove_ready(shared: &Shared) -> bool {
    let ready = shared.state().ready.pop_back();
    let removed = ready.map(|ready| shared.vfs.remove(&shared.segment_path(ready.id)));
    let removed = removed.is_some_and(|removed| removed.is_ok());
    if removed {
        shared.shrank(shared.options.segment());
    }
    removed
}

impl Keeper {
    /// Continues after the checkpoint of this generation.
    pub(crate) fn new(shared: Arc<Shared>, generation: u64, slots: [Slot; SLOTS]) -> Self {
        let [first, second, third, fourth] = slots;
        Self {
            shared,
            generation,
            synced: [first, second],
            unsynced: [third, fourth],
        }
    }

    fn snapshot(&mut self, clean: bool) -> Vec<u8> {
        self.generation += 1;
        let checkpoint = {
            let mut state = self.shared.state();
            state.dirty = false;
            state.checkpoint(self.generation, clean)
        };
        Checkpoint::encode(&checkpoint)
    }

    fn failed(&self, error: &io::Error) {
        self.shared.state().dirty = true;
        if let Some(repeated) = self.shared.quiet.repeated() {
            let log = &self.shared.name;
            tracing::error!(log, repeated, %error, "journal checkpoint not written");
        }
    }

    /// Writes a checkpoint for the next process. It survives the death of this process.
    pub(crate) fn checkpoint(&mut self) -> io::Result<()> {
        let bytes = self.snapshot(false);
        let [slot, other] = &mut self.unsynced;
        let written = slot.write(&self.shared, &bytes, false);
        std::mem::swap(slot, other);
        written.inspect_err(|error| self.failed(error))
    }

    /// Writes a checkpoint that survives a power failure, too.
    pub(crate) fn checkpoint_synced(&mut self, clean: bool) -> io::Result<()> {
        let bytes = self.snapshot(clean);
        let [first, second] = &mut self.synced;
        // While one slot is written, the other must be good.
        let order = if second.file.is_none() {
            [second, first]
        } else {
            [first, second]
        };
        let mut written = Ok(());
        for slot in order {
            if written.is_ok() {
                written = slot.write(&self.shared, &bytes, true);
            }
        }
        written.inspect_err(|error| self.failed(error))
    }

    /// Gives up the segments whose records are all finished.
    pub(crate) fn reclaim(&mut self) -> io::Result<()> {
        let ended: Vec<u64> = {
            let state = self.shared.state();
            let segments = state.segments.iter();
            let ended = segments.filter(|(_, segment)| segment.sealed && segment.unfinished == 0);
            ended.map(|(id, _)| *id).collect()
        };
        if ended.is_empty() {
            return Ok(());
        }
        self.checkpoint_synced(false)?;
        for id in ended {
            let segment = self.shared.state().segments.remove(&id);
            if let Some(segment) = segment {
                self.give_up(id, &segment);
            }
        }
        Ok(())
    }

    /// Keeps the file for its next use, or removes it.
    fn give_up(&self, id: u64, segment: &Segment) {
        let options = &self.shared.options;
        let usual = segment.size == options.segment() && !segment.fenced;
        // If room is tight, what is left is for whichever egress log needs it.
        let tight = self.shared.quota.is_tight(options.reserved());
        if usual
            && !tight
            && self.shared.state().ready.len() < MOST_READY
            && let Ok(file) = self.shared.vfs.open(&self.shared.segment_path(id))
        {
            self.shared.state().ready.push_back(Ready { id, file });
            self.shared.prepared.notify_all();
            return;
        }
        match self.shared.vfs.remove(&self.shared.segment_path(id)) {
            Ok(()) => self.shared.shrank(segment.size),
            // The file stays, and takes its room, until the next start.
            Err(error) => {
                let log = &self.shared.name;
                tracing::warn!(log, %error, "journal segment not removed");
            }
        }
    }
}
