//! The thread that writes the checkpoints of a log.

use std::time::Duration;

use tokio::time::Instant;

use super::Checkpointer;
use super::requests::{CheckpointRequests, CheckpointerTask};
use crate::drop_guard::DropGuard;
use crate::write_error::copy_io;

/// The time between two checkpoints: records finished in this time come again if the process is
/// killed.
const PAUSE: Duration = Duration::from_millis(100);

/// A checkpoint that takes long to write is written less often: after this many times that long.
const PAUSE_FACTOR: u32 = 10;

/// Writes checkpoints until the requests stop.
pub(crate) fn run(mut checkpointer: Checkpointer, requests: &CheckpointRequests) -> Checkpointer {
    let _abandon = DropGuard(|| requests.abandon());
    let mut pause = PAUSE;
    loop {
        let CheckpointerTask::Write(waiters) = requests.next(pause) else {
            return checkpointer;
        };
        let began = Instant::now();
        let written = checkpointer.write_unsynced();
        for waiter in waiters {
            let result = match &written {
                Ok(()) => Ok(()),
                Err(error) => Err(copy_io(error)),
            };
            // The caller may have gone away.
            drop(waiter.send(result));
        }
        pause = PAUSE.max(began.elapsed() * PAUSE_FACTOR);
        // If the disk has no room for this checkpoint, it may have room for the synced ones, and
        // only they free any.
        if checkpointer.retire_segments().is_err() || written.is_err() {
            requests.mark_dirty();
        }
    }
}
