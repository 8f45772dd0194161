//! Recovers a log after the process or the machine went away, from whatever is left of its files.
//!
//! Damage does not make an opening fail unless `strict` is set: a record that is not what was
//! written is skipped and counted. A number below the acknowledged ones that is neither finished
//! nor there is a loss. A missing number above them was being written when the writing was cut off,
//! and nobody was told that it is safe.

mod files;
mod open_error;
mod rebuild;

use std::path::PathBuf;
use std::sync::Arc;

use crate::checkpointer::Keeper;
use crate::format::checkpoint::Checkpoint;
use crate::segments::Shared;
use files::Files;
pub use open_error::OpenError;

/// The contents of one log at the start, and what was lost.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveredLog {
    /// The exporter of an egress log; `None` for the ingress log.
    pub exporter: Option<String>,
    /// Records that are not finished.
    pub records: u64,
    /// Items of these records.
    pub items: u64,
    /// Bytes of these records.
    pub bytes: u64,
    /// Records that were acknowledged, not finished, and are damaged or gone. The number is exact.
    pub lost: u64,
    /// Items of the lost records whose header is still good.
    pub lost_items: u64,
    /// Lost records that have no good header, so that the number of their items is unknown.
    pub lost_without_items: u64,
    /// Records that are not whole and that no checkpoint or later record mentions. They were cut
    /// off while they were written, or were acknowledged just before the end of the process and
    /// damaged then.
    pub doubtful: u64,
    /// Bytes of records whose writing was cut off. Nobody was told that they are safe.
    pub torn_bytes: u64,
    /// Records that had expired, and are finished now.
    pub expired: u64,
    /// Items of the expired records.
    pub expired_items: u64,
    /// Headers of segments and checkpoints that were damaged.
    pub damaged_headers: u64,
    /// Segments that the disk could read in part or not at all. They are left as they are, and read
    /// again at the next start.
    pub unread: u64,
    /// Records that may be in these segments. They count neither as there nor as lost.
    pub unread_records: u64,
    /// True if the last process that had the log closed it, or if there was none.
    pub ended_well: bool,
}

impl RecoveredLog {
    pub(crate) fn is_damaged(&self) -> bool {
        self.lost > 0 || self.damaged_headers > 0 || self.unread > 0
    }
}

/// Reads a log and prepares it for use. `shared` has an empty state.
pub(crate) fn recover(
    shared: Shared,
    exporter: Option<String>,
) -> Result<(Arc<Shared>, Keeper, RecoveredLog), OpenError> {
    let files = Files::read(&shared)?;
    let mut report = RecoveredLog {
        exporter,
        damaged_headers: files.damaged,
        ..RecoveredLog::default()
    };
    let checkpoint = files.checkpoint.clone().unwrap_or_default();
    let scanned = rebuild::scan_all(&shared, &files)?;
    rebuild::rebuild(&shared, &files, &checkpoint, &scanned, &mut report);
    if shared.options.strict && report.is_damaged() {
        return Err(OpenError::Damaged {
            path: shared.dir.clone(),
            lost: report.lost,
            headers: report.damaged_headers + report.unread,
        });
    }
    rebuild::expire(&shared, &mut report);
    let Files { slots, spare, .. } = files;
    adopt_spare(&shared, spare);
    let shared = Arc::new(shared);
    let generation = checkpoint.generation;
    let mut keeper = Keeper::new(Arc::clone(&shared), generation, slots);
    sync_tail(&shared, &checkpoint);
    // If this fails, the next checkpoint does it: a full disk is no reason to hold back the records
    // that are on it.
    if keeper.checkpoint_synced(false).is_ok() {
        let reclaimed = keeper.reclaim();
        if let Err(error) = reclaimed {
            tracing::debug!(%error, log = shared.name, "segments not given up");
        }
    }
    Ok((shared, keeper, report))
}

/// Uses a file of the usual size again if none is ready, and removes the others.
fn adopt_spare(shared: &Shared, spare: Vec<files::Spare>) {
    for spare in spare {
        let mut state = shared.state();
        if spare.length == shared.options.segment() && state.ready.is_empty() {
            state.ready.push_back(spare.ready);
            continue;
        }
        drop(state);
        match shared.vfs.remove(&shared.segment_path(spare.ready.id)) {
            Ok(()) => shared.shrank(spare.length),
            Err(error) => {
                tracing::warn!(log = shared.name, %error, "journal segment not removed");
            }
        }
    }
}

/// Syncs the records that the dead process wrote and did not sync. They are read from memory now,
/// and once they count as there, they have to stay.
fn sync_tail(shared: &Shared, checkpoint: &Checkpoint) {
    let newest: Vec<PathBuf> = {
        let state = shared.state();
        let after = state.records.range(checkpoint.next..);
        let mut ids: Vec<u64> = after.map(|(_, entry)| entry.segment).collect();
        ids.dedup();
        ids.into_iter().map(|id| shared.segment_path(id)).collect()
    };
    for path in newest {
        let synced = shared.vfs.open(&path).and_then(|file| file.sync_data());
        if let Err(error) = synced {
            tracing::warn!(log = shared.name, %error, "journal segment not synced");
        }
    }
}
