//! Writes the checkpoints of a log, and retires segments.
//!
//! Four files hold checkpoints. Two are written and synced one after the other before a segment is
//! retired, so that one of them is good whatever happens. The other two are written in turn without
//! a sync ten times a second, which is enough to survive the death of the process.

pub(crate) mod file;
pub(crate) mod requests;
pub(crate) mod thread;

use std::io;
use std::sync::Arc;

use crate::format::checkpoint::Checkpoint;
use crate::segments::Segments;
use file::{CheckpointFile, FILES};

/// The only writer of a log's checkpoints.
#[derive(Debug)]
pub(crate) struct Checkpointer {
    segments: Arc<Segments>,
    generation: u64,
    synced: [CheckpointFile; 2],
    unsynced: [CheckpointFile; 2],
}

impl Checkpointer {
    /// Continues after the checkpoint of this generation.
    pub(crate) fn new(
        segments: Arc<Segments>,
        generation: u64,
        files: [CheckpointFile; FILES],
    ) -> Self {
        let [first, second, third, fourth] = files;
        Self {
            segments,
            generation,
            synced: [first, second],
            unsynced: [third, fourth],
        }
    }

    /// Writes a checkpoint that survives the death of this process.
    pub(crate) fn write_unsynced(&mut self) -> io::Result<()> {
        let bytes = self.encode(false);
        let [file, other] = &mut self.unsynced;
        let written = file.write(&self.segments, &bytes, false);
        std::mem::swap(file, other);
        written.inspect_err(|error| self.report(error))
    }

    /// Writes a checkpoint that survives a power failure, too. With `clean` it tells the next
    /// process that the log was closed.
    pub(crate) fn write_synced(&mut self, clean: bool) -> io::Result<()> {
        let bytes = self.encode(clean);
        let [first, second] = &mut self.synced;
        // While one file is written, the other must be good.
        let order = if second.is_good() {
            [first, second]
        } else {
            [second, first]
        };
        let mut written = Ok(());
        for file in order {
            if written.is_ok() {
                written = file.write(&self.segments, &bytes, true);
            }
        }
        written.inspect_err(|error| self.report(error))
    }

    /// Retires the segments whose records are all finished.
    pub(crate) fn retire_segments(&mut self) -> io::Result<()> {
        let finished = self.segments.index().finished_segments();
        if finished.is_empty() {
            return Ok(());
        }
        self.write_synced(false)?;
        for id in finished {
            self.segments.retire(id);
        }
        Ok(())
    }

    fn encode(&mut self, clean: bool) -> Vec<u8> {
        self.generation += 1;
        let checkpoint = self.segments.index().checkpoint(self.generation, clean);
        Checkpoint::encode(&checkpoint)
    }

    fn report(&self, error: &io::Error) {
        if let Some(repeated) = self.segments.failure_lines().next() {
            let log = self.segments.name();
            tracing::error!(log, repeated, %error, "journal checkpoint not written");
        }
    }
}
