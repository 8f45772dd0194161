//! New segments: allocated, zeroed and durable before a record needs them.

use std::io;
use std::sync::Arc;

use spandrel_pipeline::journal::Unwritten;

use crate::state::{Ready, Shared};
use crate::vfs::File;

/// Makes a segment's file. Its entry and its length are durable then.
pub(crate) fn allocate(shared: &Shared, size: u64) -> Result<Ready, Unwritten> {
    if !shared.quota.take(size, shared.reserved) {
        return Err(Unwritten::Full { what: "max_bytes" });
    }
    shared.grew(size);
    let id = {
        let mut state = shared.state();
        state.next_id += 1;
        state.next_id - 1
    };
    match make(shared, id, size) {
        Ok(file) => Ok(Ready { id, file }),
        Err(error) => {
            // What was allocated of it would keep the disk full.
            let removed = shared.vfs.remove(&shared.segment_path(id));
            match removed {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::debug!(%error, log = shared.name, "segment not removed");
                }
                _ => {}
            }
            shared.shrank(size);
            Err(refusal(error))
        }
    }
}

fn make(shared: &Shared, id: u64, size: u64) -> io::Result<Arc<dyn File>> {
    let file = shared.vfs.create(&shared.segment_path(id))?;
    file.allocate(size)?;
    file.sync_data()?;
    shared.vfs.sync_dir(&shared.dir)?;
    Ok(file)
}

/// What the sender is told.
pub(crate) fn refusal(error: io::Error) -> Unwritten {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Unwritten::Full { what: "the disk" }
        }
        _ => Unwritten::Failed(error),
    }
}

/// Prepares a segment of the usual size. The caller has set `preparing`.
pub(crate) fn prepare(shared: &Shared) {
    let made = allocate(shared, shared.options.segment());
    let mut state = shared.state();
    state.preparing = false;
    match made {
        Ok(ready) => state.ready.push_back(ready),
        // Whoever needs the segment tries again, and tells its sender.
        Err(error) => tracing::debug!(%error, log = shared.name, "segment not prepared"),
    }
    drop(state);
    shared.prepared.notify_all();
}
