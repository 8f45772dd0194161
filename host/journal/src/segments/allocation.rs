//! Makes new segments: allocated, zeroed and durable before a record needs them.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use spandrel_pipeline::journal::AppendError;
use tokio::time::Instant;

use super::{FreeList, FreeSegment, Segments};
use crate::vfs::File;
use crate::write_error;

/// The pause before a segment that could not be allocated is tried again, in multiples of
/// `retry_after`: a second by default. Nobody waits for it yet, and a commit that needs one tries
/// at once.
const PAUSE: u32 = 10;

/// The most logs that wait for a segment: more than a pipeline has.
const MAX_REQUESTS: usize = 1024;

/// The way to ask for the next segment of a log before it is needed. `None` ends the thread that
/// allocates them.
#[derive(Clone, Debug)]
pub(crate) struct AllocationRequests(SyncSender<Option<Arc<Segments>>>);

impl AllocationRequests {
    /// Returns the way in, and the way out for the thread that allocates the segments.
    pub(crate) fn new() -> (Self, Receiver<Option<Arc<Segments>>>) {
        let (requests, incoming) = sync_channel(MAX_REQUESTS);
        (Self(requests), incoming)
    }

    /// Has the next segment of a log allocated, unless that is done or being done.
    pub(crate) fn send(&self, segments: &Arc<Segments>) {
        let wanted = segments.free.begin_allocation();
        if wanted && self.0.try_send(Some(Arc::clone(segments))).is_err() {
            segments.free.end_allocation();
        }
    }

    /// Ends the thread that allocates the segments, once it has done what it was asked for.
    pub(crate) fn end(&self) {
        // The send fails if the thread has ended already.
        drop(self.0.send(None));
    }
}

/// Makes a segment's file for a record that waits for it. The file's entry and its length are
/// durable afterwards.
pub(crate) fn allocate(segments: &Segments, size: u64) -> Result<FreeSegment, AppendError> {
    allocate_leaving(segments, size, segments.reserved)
}

/// Makes a segment's file, unless less than `left` would remain.
fn allocate_leaving(segments: &Segments, size: u64, left: u64) -> Result<FreeSegment, AppendError> {
    if !segments.reserve_bytes(size, left) {
        return Err(AppendError::Full { what: "max_bytes" });
    }
    let id = segments.free.new_id();
    match make(segments, id, size) {
        Ok(file) => Ok(FreeSegment { id, file }),
        Err(error) => {
            // The part of it that was allocated would keep the disk full.
            match segments.vfs().remove(&segments.path(id)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::debug!(%error, log = segments.name, "segment not removed");
                }
                _ => {}
            }
            segments.release_bytes(size);
            Err(write_error::from_io(error))
        }
    }
}

fn make(segments: &Segments, id: u64, size: u64) -> io::Result<Arc<dyn File>> {
    let file = segments.vfs().create(&segments.path(id))?;
    file.allocate(size)?;
    file.sync_data()?;
    segments.vfs().sync_dir(&segments.dir)?;
    Ok(file)
}

/// Ends an allocation, even if it panics: somebody may wait for it.
struct Allocation<'a>(&'a FreeList);

impl Drop for Allocation<'_> {
    fn drop(&mut self) {
        self.0.end_allocation();
    }
}

/// Allocates a segment of the usual size ahead of its use. The caller has begun the allocation. The
/// room that is reserved for the egress logs is only for segments that are needed at once.
pub(crate) fn allocate_ahead(segments: &Segments) {
    let _allocation = Allocation(&segments.free);
    let options = segments.options();
    match allocate_leaving(segments, options.segment_size(), options.reserved_bytes()) {
        Ok(segment) => segments.free.push(segment),
        Err(error) => {
            // The commit that needs the segment tries again, and tells its sender.
            tracing::debug!(%error, log = segments.name, "segment not allocated");
            let pause = options.retry_after * PAUSE;
            segments.free.pause_until(Instant::now() + pause);
        }
    }
}
