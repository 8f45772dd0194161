//! What a log is after the process or the machine went away, whatever is left of its files.
//!
//! Nothing of it makes an opening fail: a record that is not what was written is passed over and
//! counted. A number below what was acknowledged that is neither finished nor there is a loss; one
//! above was being written when it was cut off, and nobody was told that it is safe.

mod files;
mod settle;

use std::path::PathBuf;
use std::sync::Arc;

use crate::format::checkpoint::Checkpoint;
use crate::keeper::Keeper;
use crate::state::Shared;
use crate::store::OpenError;
use files::Files;

/// What was found in one log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveredLog {
    /// Whose egress log it is; none for the ingress log.
    pub exporter: Option<String>,
    /// Records that are not finished.
    pub records: u64,
    /// Their items.
    pub items: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Records that were acknowledged, not finished, and are damaged or gone: exactly as many.
    pub lost: u64,
    /// Items of these, of those whose header is still good.
    pub lost_items: u64,
    /// Of `lost`, records that have no good header: nobody knows how many items they had.
    pub lost_without_items: u64,
    /// Records that are not whole and that no checkpoint or later record speaks of: cut off while they
    /// were written, or acknowledged just before the end of the process and damaged then.
    pub doubtful: u64,
    /// Bytes of records whose writing was cut off. Nobody was told that they are safe.
    pub torn_bytes: u64,
    /// Records that were older than they may become, and are finished now.
    pub expired: u64,
    /// Their items.
    pub expired_items: u64,
    /// Headers of segments and checkpoints that were damaged.
    pub damaged_headers: u64,
    /// Segments that the disk gave in part or not at all. They are left as they are, and read again
    /// at the next start.
    pub unread: u64,
    /// Records that may be in these: neither there nor lost.
    pub unread_records: u64,
    /// Whether the last process that had it closed it. Also when there was none.
    pub ended_well: bool,
}

impl RecoveredLog {
    pub(crate) fn is_damaged(&self) -> bool {
        self.lost > 0 || self.damaged_headers > 0 || self.unread > 0
    }
}

/// Reads a log and makes it ready to go on. `shared` has an empty state.
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
    let scanned = settle::scan_all(&shared, &files)?;
    settle::settle(&shared, &files, &checkpoint, &scanned, &mut report);
    if shared.options.strict && report.is_damaged() {
        return Err(OpenError::Damaged {
            path: shared.dir.clone(),
            lost: report.lost,
            headers: report.damaged_headers + report.unread,
        });
    }
    settle::expire(&shared, &mut report);
    let Files { slots, spare, .. } = files;
    adopt_spare(&shared, spare);
    let shared = Arc::new(shared);
    let generation = checkpoint.generation;
    let mut keeper = Keeper::new(Arc::clone(&shared), generation, slots);
    sync_tail(&shared, &checkpoint);
    // What fails here is done with the next checkpoint: a disk that is full is no reason not to
    // bring out what is on it.
    if keeper.checkpoint_synced(false).is_ok() {
        let reclaimed = keeper.reclaim();
        if let Err(error) = reclaimed {
            tracing::debug!(%error, log = shared.name, "segments not given up");
        }
    }
    Ok((shared, keeper, report))
}

/// Files of the usual size are used again, others removed.
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

/// What the dead process wrote and did not sync is read from memory now. Once it is counted as
/// there, it has to stay.
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
