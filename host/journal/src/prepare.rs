//! Makes new segments: allocated, zeroed and durable before a record needs them.

use std::io;
use std::sync::Arc;

use spandrel_pipeline::journal::Unwritten;
use tokio::time::Instant;

use crate::state::{Ready, Shared};
use crate::vfs::File;

/// The pause before a segment that could not be prepared is tried again, in multiples of
/// `retry_after`: a second by default. Nobody waits for it yet, and a commit that needs one tries
/// at once.
const PAUSE: u32 = 10;

/// Makes a segment's file. Its entry and its length are durable afterwards.
pub(crate) fn allocate(shared: &Shared, size: u64) -> Result<Ready, Unwritten> {
    allocate_leaving(shared, size, shared.reserved)
}

/// Makes a segment's file, unless less than `left` would remain.
fn allocate_leaving(shared: &Shared, size: u64, left: u64) -> Result<Ready, Unwritten> {
    if !shared.quota.take(size, left) {
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
            // The part of it that was allocated would keep the disk full.
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

/// Returns true if the error means that the disk has no room.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// Returns the error that the sender gets.
pub(crate) fn refusal(error: io::Error) -> Unwritten {
    if is_full(&error) {
        Unwritten::Full { what: "the disk" }
    } else {
        Unwritten::Failed(error)
    }
}

/// Wakes those who wait for a segment that is being prepared, even if preparing panics.
struct Preparing<'a>(&'a Shared);

impl Drop for Preparing<'_> {
    fn drop(&mut self) {
        self.0.state().preparing = false;
        self.0.prepared.notify_all();
    }
}

/// Prepares a segment of the usual size. The caller has set `preparing`. The room that is reserved
/// for the egress logs is only for segments that are needed at once.
pub(crate) fn prepare(shared: &Shared) {
    let _preparing = Preparing(shared);
    let options = &shared.options;
    match allocate_leaving(shared, options.segment(), options.reserved()) {
        Ok(ready) => shared.state().ready.push_back(ready),
        Err(error) => {
            // The commit that needs the segment tries again, and tells its sender.
            tracing::debug!(%error, log = shared.name, "segment not prepared");
            shared.state().prepare_after = Some(Instant::now() + options.retry_after * PAUSE);
        }
    }
}
