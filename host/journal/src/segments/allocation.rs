//! Makes new segments: allocated, zeroed and durable before a record needs them.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use spandrel_pipeline::journal::Unwritten;
use tokio::time::Instant;

use crate::segments::{Ready, Shared};
use crate::vfs::File;

/// The pause before a segment that could not be prepared is tried again, in multiples of
/// `retry_after`: a second by default. Nobody waits for it yet, and a commit that needs one tries
/// at once.
const PAUSE: u32 = 10;

/// The most logs that wait for a segment: more than a pipeline has.
const MOST_REQUESTS: usize = 1024;

/// The way to ask for the next segment of a log before it is needed. `None` ends the thread that
/// makes them.
#[derive(Clone, Debug)]
pub(crate) struct AllocationRequests(SyncSender<Option<Arc<Shared>>>);

impl AllocationRequests {
    /// Returns the way in, and the way out for the thread that makes the segments.
    pub(crate) fn new() -> (Self, Receiver<Option<Arc<Shared>>>) {
        let (requests, incoming) = sync_channel(MOST_REQUESTS);
        (Self(requests), incoming)
    }

    /// Has the next segment of a log prepared, unless that is done or being done.
    pub(crate) fn send(&self, shared: &Arc<Shared>) {
        if shared.begin_preparing() && self.0.try_send(Some(Arc::clone(shared))).is_err() {
            shared.state().preparing = false;
        }
    }

    /// Ends the thread that makes the segments, once it has made those that were asked for.
    pub(crate) fn end(&self) {
        // The send fails if the thread has ended already.
        drop(self.0.send(None));
    }
}

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
