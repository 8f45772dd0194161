//! The thread that writes the checkpoints of a log.

use std::io;
use std::time::Duration;

use tokio::time::Instant;

use super::Keeper;
use super::requests::{Call, Calls};
use crate::on_drop::OnDrop;

/// The time between two checkpoints: records finished in this time come again if the process is
/// killed.
const PAUSE: Duration = Duration::from_millis(100);

/// A checkpoint that takes long to write is written less often: after this many times that long.
const PAUSE_FACTOR: u32 = 10;

/// Runs the keeper's thread.
pub(crate) fn run(mut keeper: Keeper, calls: &Calls) -> Keeper {
    let _guard = OnDrop(|| calls.abandon());
    let mut pause = PAUSE;
    loop {
        match calls.next(pause) {
            Call::Checkpoint(marks) => {
                let began = Instant::now();
                let written = keeper.checkpoint();
                for mark in marks {
                    let copied =
                        |error: &io::Error| io::Error::new(error.kind(), error.to_string());
                    let result = match &written {
                        Ok(()) => Ok(()),
                        Err(error) => Err(copied(error)),
                    };
                    // The caller may have gone away.
                    drop(mark.send(result));
                }
                pause = PAUSE.max(began.elapsed() * PAUSE_FACTOR);
                // If the disk has no room for this checkpoint, it may have room for the synced
                // ones, and only they free any.
                if keeper.reclaim().is_err() || written.is_err() {
                    calls.dirty();
                }
            }
            Call::Stop => return keeper,
        }
    }
}
