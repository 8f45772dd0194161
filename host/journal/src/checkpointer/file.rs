//! The files that hold the checkpoints of a log.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::segments::Segments;
use crate::vfs::{File, is_full};

/// The number of checkpoint files. The first two are synced.
pub(crate) const FILES: usize = 4;

/// Returns the name of a checkpoint file.
pub(crate) fn file_name(place: usize) -> String {
    format!("checkpoint-{place}")
}

/// A file that holds a checkpoint.
#[derive(Debug)]
pub(crate) struct CheckpointFile {
    path: PathBuf,
    /// `None` if the file must be made anew.
    file: Option<Arc<dyn File>>,
    length: u64,
}

impl CheckpointFile {
    /// Continues with the file that was found. Without one that is good, it is made anew.
    pub(crate) fn new(path: PathBuf, file: Option<Arc<dyn File>>, length: u64) -> Self {
        Self { path, file, length }
    }

    /// Returns true if the file has a good checkpoint, as far as is known.
    pub(super) fn is_good(&self) -> bool {
        self.file.is_some()
    }

    /// Writes a checkpoint. If the disk is full, it removes segments that wait for their next use
    /// to make room, because other segments cannot be retired without a checkpoint.
    pub(super) fn write(
        &mut self,
        segments: &Segments,
        bytes: &[u8],
        sync: bool,
    ) -> io::Result<()> {
        loop {
            match self.try_write(segments, bytes, sync) {
                Err(error) if is_full(&error) && segments.remove_free() => {}
                written => return written,
            }
        }
    }

    fn try_write(&mut self, segments: &Segments, bytes: &[u8], sync: bool) -> io::Result<()> {
        let file = match &self.file {
            Some(file) => Arc::clone(file),
            None => self.make(segments)?,
        };
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if length > self.length {
            let smallest = segments.options().checkpoint_file_size();
            let room = length.next_power_of_two().max(smallest);
            // Without room for spare bytes, the file is as long as it must be.
            let room = file.allocate(room).map_or(length, |()| room);
            segments.add_bytes(room - self.length);
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

    fn make(&mut self, segments: &Segments) -> io::Result<Arc<dyn File>> {
        match segments.vfs().remove(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        segments.release_bytes(std::mem::take(&mut self.length));
        let file = segments.vfs().create(&self.path)?;
        segments.vfs().sync_dir(segments.dir())?;
        Ok(file)
    }
}
