//! The thread that appends to a log.

use tokio::time::Instant;

use super::queue::{AppendQueue, PendingAppend, WriterTask};
use super::{NewRecord, Writer};
use crate::checkpointer::requests::CheckpointRequests;
use crate::drop_guard::DropGuard;
use crate::options::Sync;
use crate::segments::allocation::AllocationRequests;
use crate::write_error;

/// Takes everything that waits, writes it and answers, until the queue is closed.
pub(crate) fn run(
    mut writer: Writer,
    queue: &AppendQueue,
    checkpoints: &CheckpointRequests,
    allocations: &AllocationRequests,
) -> Writer {
    let _abandon = DropGuard(|| queue.abandon());
    let interval = match writer.segments().options().sync {
        Sync::Interval(interval) => Some(interval),
        Sync::Group | Sync::None => None,
    };
    let mut last_sync = Instant::now();
    loop {
        let due = interval.filter(|_| writer.is_unsynced());
        let timeout = due.map(|interval| interval.saturating_sub(last_sync.elapsed()));
        match queue.next(timeout) {
            WriterTask::Append(group) => {
                append(&mut writer, group);
                checkpoints.mark_dirty();
            }
            WriterTask::Timeout => {}
            WriterTask::Closed => return writer,
        }
        if writer.wants_segment() {
            allocations.send(writer.segments());
        }
        if let Some(interval) = interval
            && last_sync.elapsed() >= interval
        {
            if let Err(error) = writer.sync() {
                tracing::warn!(%error, "journal not synced");
            }
            last_sync = Instant::now();
        }
    }
}

/// Writes a group, with one write for each segment that it needs, and answers its senders.
fn append(writer: &mut Writer, group: Vec<PendingAppend>) {
    // A sender that has gone away gets no OK, and needs no record.
    let mut group: Vec<PendingAppend> = group
        .into_iter()
        .filter(|append| !append.answer.is_closed())
        .collect();
    while !group.is_empty() {
        let records: Vec<NewRecord> = group.iter().map(|append| append.record.clone()).collect();
        let (count, written) = writer.commit(&records);
        for (place, append) in (0_u64..).zip(group.drain(..count.clamp(1, records.len()))) {
            let result = match &written {
                Ok(first) => Ok(first + place),
                Err(error) => Err(write_error::copy(error)),
            };
            drop(append.room);
            if let Err(Ok(lsn)) = append.answer.send(result) {
                // No sender was told of this record.
                writer.segments().index().finish(lsn);
            }
        }
    }
}
