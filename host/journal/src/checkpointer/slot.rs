//! The files that hold the checkpoints of a log.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::segments::Shared;
use crate::segments::allocation::is_full;
use crate::vfs::File;

/// Returns the name of a slot's file.
pub(crate) fn slot_name(slot: usize) -> String {
    format!("checkpoint-{slot}")
}

#[derive(Debug)]
pub(crate) struct Slot {
    path: PathBuf,
    /// `None` if the file must be made anew.
    pub(super) file: Option<Arc<dyn File>>,
    length: u64,
}

impl Slot {
    /// Makes a slot from the file that was found for it.
    pub(crate) fn new(path: PathBuf, file: Option<Arc<dyn File>>, length: u64) -> Self {
        Self { path, file, length }
    }

    /// Writes a checkpoint. If the disk is full, it removes segments that wait for their next use
    /// to make room, because other segments cannot be given up without a checkpoint.
    pub(super) fn write(&mut self, shared: &Shared, bytes: &[u8], sync: bool) -> io::Result<()> {
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
