//! Recovers a log after the process or the machine went away, from whatever is left of its files.
//!
//! Damage does not make an opening fail unless `strict` is set: a record that is not what was
//! written is skipped and counted. A record below the commit LSN that is neither finished nor there
//! is a loss. A missing record above it was being written when the writing was cut off, and nobody
//! was told that it is safe.

mod files;
mod open_error;
mod rebuild;
mod report;
mod scan;

use std::path::PathBuf;
use std::sync::Arc;

use crate::checkpointer::Checkpointer;
use crate::segments::Segments;
use files::{BlankFile, LogFiles};
pub use open_error::OpenError;
use rebuild::Rebuild;
pub use report::{LogRecovery, Recovery};

/// A log that was read, and can be used.
#[derive(Debug)]
pub(crate) struct RecoveredLog {
    /// Its segments.
    pub(crate) segments: Arc<Segments>,
    /// The writer of its checkpoints.
    pub(crate) checkpointer: Checkpointer,
    /// The contents at the start, and what was lost.
    pub(crate) report: LogRecovery,
}

/// Reads a log and prepares it for use. `segments` has an empty index.
pub(crate) fn recover(
    segments: Segments,
    exporter: Option<String>,
) -> Result<RecoveredLog, OpenError> {
    let files = LogFiles::read(&segments)?;
    let rebuild = Rebuild::scan(&segments, &files);
    let mut report = LogRecovery {
        exporter,
        damaged_headers: files.damaged_headers(),
        ..LogRecovery::default()
    };
    let index = rebuild.index(&mut report);
    segments.counters().damaged(report.lost);
    *segments.index() = index;
    report.set_fill(segments.fill());
    if segments.options().strict && report.is_damaged() {
        return Err(OpenError::Damaged {
            path: segments.dir().to_path_buf(),
            lost: report.lost,
            headers: report.damaged_headers + report.unread,
        });
    }
    (report.expired, report.expired_items) = segments.expire();
    report.set_fill(segments.fill());
    let checkpoint = files.checkpoint().unwrap_or_default();
    let (checkpoint_files, blank) = files.into_parts();
    adopt_blank(&segments, blank);
    let segments = Arc::new(segments);
    let mut checkpointer = Checkpointer::new(
        Arc::clone(&segments),
        checkpoint.generation,
        checkpoint_files,
    );
    sync_tail(&segments, checkpoint.next_lsn);
    // If this fails, the next checkpoint does it: a full disk is no reason to hold back the records
    // that are on it.
    if checkpointer.write_synced(false).is_ok()
        && let Err(error) = checkpointer.retire_segments()
    {
        tracing::debug!(%error, log = segments.name(), "segments not retired");
    }
    Ok(RecoveredLog {
        segments,
        checkpointer,
        report,
    })
}

/// Uses a file of the usual size again if there is no free segment, and removes the others.
fn adopt_blank(segments: &Segments, blank: Vec<BlankFile>) {
    for BlankFile { segment, length } in blank {
        if length == segments.options().segment_size() && segments.free().len() == 0 {
            segments.free().push(segment);
        } else {
            segments.remove_file(segment.id, length);
        }
    }
}

/// Syncs the records that the dead process wrote and did not sync: those that the checkpoint does
/// not know of. They are read from memory now, and once they count as there, they have to stay.
fn sync_tail(segments: &Segments, next_lsn: u64) {
    let newest: Vec<PathBuf> = {
        let index = segments.index();
        let after = index.records_from(next_lsn);
        let mut ids: Vec<u64> = after.map(|(_, entry)| entry.segment).collect();
        ids.dedup();
        ids.into_iter().map(|id| segments.path(id)).collect()
    };
    for path in newest {
        let synced = segments.vfs().open(&path);
        if let Err(error) = synced.and_then(|file| file.sync_data()) {
            tracing::warn!(log = segments.name(), %error, "journal segment not synced");
        }
    }
}
