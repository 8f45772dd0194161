//! Records that are not tried again: damaged ones, and those that failed every time.

use std::time::SystemTime;

use super::returns::Returned;
use super::{Replay, Tried};
use crate::journal::{Poison, Unfinished, Unreadable};

impl Replay {
    pub(super) fn unreadable(
        &self,
        record: Unfinished,
        before: Returned,
        error: &Unreadable,
    ) -> Tried {
        let (number, items) = (record.record, record.items);
        let cause: &dyn std::error::Error = error;
        match error {
            Unreadable::Failed(_) => {
                tracing::warn!(
                    record = number,
                    error = cause,
                    "journal cannot be read, will retry"
                );
                Tried::Again(before.later())
            }
            Unreadable::Damaged { .. } => {
                tracing::error!(
                    pipeline = self.ledger.pipeline(),
                    items,
                    error = cause,
                    "accepted batch is damaged on the disk, items lost"
                );
                self.ledger.post(|books| {
                    books.add_replayed(items, before.is_booked);
                    books.damaged += items;
                });
                self.log.finish(number);
                Tried::Ended
            }
        }
    }

    /// Puts a record on the shelf.
    pub(super) async fn shelve(&self, record: Unfinished, before: Returned) -> Tried {
        let request = match self.log.read(record.record).await {
            Ok(request) => request,
            Err(error) => return self.unreadable(record, before, &error),
        };
        if !self.returns.shelve(record.record, &before) {
            return Tried::Again(before);
        }
        let Unfinished { items, written, .. } = record;
        let pipeline = self.ledger.pipeline();
        let poison = Poison {
            pipeline: pipeline.to_owned(),
            signal: self.ledger.signal(),
            request,
            items,
            attempts: before.failures,
            accepted: written.max(SystemTime::UNIX_EPOCH),
            reason: before.reason(),
        };
        let (reason, attempts) = (before.reason(), before.failures);
        match self.durability.quarantine.put(poison).await {
            Ok(()) => {
                tracing::error!(
                    pipeline,
                    items,
                    attempts,
                    reason,
                    "batch quarantined: it failed every time"
                );
                self.ledger.post(|books| {
                    books.add_replayed(items, before.is_booked);
                    books.quarantined += items;
                });
                self.log.finish(record.record);
                Tried::Ended
            }
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(
                    pipeline,
                    items,
                    error,
                    "quarantine takes nothing, the batch stays in the journal"
                );
                Tried::Again(before.later())
            }
        }
    }
}
