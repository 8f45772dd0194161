//! The thread that appends to a log.

use tokio::time::Instant;

use super::queue::{Next, Queue, Waiting};
use super::{Batch, Writer, again};
use crate::checkpointer::requests::Calls;
use crate::on_drop::OnDrop;
use crate::options::Sync;
use crate::segments::allocation::AllocationRequests;

/// Runs the commit thread: takes everything that waits, writes it, answers.
pub(crate) fn run(
    mut writer: Writer,
    queue: &Queue,
    calls: &Calls,
    allocations: &AllocationRequests,
) -> Writer {
    let _guard = OnDrop(|| queue.abandon());
    let interval = match writer.options().sync {
        Sync::Interval(interval) => Some(interval),
        Sync::Group | Sync::None => None,
    };
    let mut last_sync = Instant::now();
    loop {
        let due = interval.filter(|_| writer.is_unsynced());
        let patience = due.map(|interval| interval.saturating_sub(last_sync.elapsed()));
        match queue.next(patience) {
            Next::Group(group) => {
                answer(&mut writer, group);
                calls.dirty();
            }
            Next::Idle => {}
            Next::Closed => return writer,
        }
        if writer.wants_segment {
            allocations.send(writer.shared());
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

/// Writes a group, with one write for each segment that it needs.
fn answer(writer: &mut Writer, group: Vec<Waiting>) {
    // A sender that has gone away gets no OK, and needs no record.
    let mut group: Vec<Waiting> = group
        .into_iter()
        .filter(|waiting| !waiting.answer.is_closed())
        .collect();
    while !group.is_empty() {
        let batches: Vec<Batch> = group.iter().map(|waiting| waiting.batch.clone()).collect();
        let (count, written) = writer.commit(&batches);
        for (place, waiting) in (0_u64..).zip(group.drain(..count.clamp(1, batches.len()))) {
            let result = match &written {
                Ok(first) => Ok(first + place),
                Err(error) => Err(again(error)),
            };
            drop(waiting.room);
            if let Err(Ok(number)) = waiting.answer.send(result) {
                writer.finish(number);
            }
        }
    }
}
