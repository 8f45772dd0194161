//! Writes checkpoints, and reclaims segments.
//!
//! Four slots hold checkpoints. Two are written and synced one after the other before a segment is
//! given up, so that one of them is good whatever happens. The other two are written in turn
//! without a sync ten times a second, which is enough to survive the death of the process.

pub(crate) mod requests;
pub(crate) mod slot;
pub(crate) mod thread;

use std::io;
use std::sync::Arc;

use crate::format::checkpoint::Checkpoint;
use crate::segments::{Ready, Segment, Shared};
use slot::Slot;

/// The number of checkpoint slots. The first two are synced.
pub(crate) const SLOTS: usize = 4;

/// The most segments that are kept for their next use instead of being removed: as many as a fast
/// disk fills between two checkpoints.
const MOST_READY: usize = 4;

/// The only writer of a log's checkpoints.
#[derive(Debug)]
pub(crate) struct Keeper {
    shared: Arc<Shared>,
    generation: u64,
    synced: [Slot; 2],
    unsynced: [Slot; 2],
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
