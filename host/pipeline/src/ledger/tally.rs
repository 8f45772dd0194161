//! A handle on some items in the books.

mod count;
mod stage_visit;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::SystemTime;

pub(super) use self::count::Count;
pub(crate) use self::stage_visit::StageVisit;
use super::reason::{FullPart, Reason};
use super::{Column, Ledger};
use crate::completion::Guard;
use crate::journal::UnfinishedRecord;

/// The account of items while they are inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Account {
    /// Received, with no answer to their sender yet.
    Ingress,
    /// On their way through the stages.
    Chain,
    /// Held for a stage, by its index in the pipeline.
    Held(usize),
    /// Queued for an exporter, by its column in the books.
    Queue(usize),
}

/// The source of items that a plugin made: the guards of the items that they were made of.
#[derive(Debug, Default)]
pub(crate) struct Source {
    guards: Vec<Guard>,
    journaled: bool,
}

/// Some items that stand in one account, with the guards of the batches they came from. If it is
/// dropped without a posting, it books its items as refused (from ingress), as still in the log
/// that has them, or as abandoned.
#[derive(Debug)]
#[must_use]
pub struct Tally {
    ledger: Arc<Ledger>,
    account: Account,
    count: Count,
    guards: Vec<Guard>,
    /// The time at which their record was written; the latest if there are several.
    written: Option<SystemTime>,
    /// The stage that failed on them before, and to which they are on their way again.
    failed_at: Option<Arc<str>>,
}

impl Tally {
    pub(super) fn new(ledger: Arc<Ledger>, account: Account, items: u64) -> Self {
        let count = Count {
            items,
            ..Count::default()
        };
        Self {
            ledger,
            account,
            count,
            guards: Vec::new(),
            written: None,
            failed_at: None,
        }
    }

    /// Makes the tally of items in an exporter's queue that its log has.
    pub(super) fn on_disk(
        ledger: Arc<Ledger>,
        exporter: usize,
        record: &UnfinishedRecord,
        guard: Guard,
    ) -> Self {
        let mut tally = Self::new(ledger, Account::Queue(exporter), record.items);
        tally.count.on_disk = record.items;
        tally.written = Some(record.written);
        tally.guard(guard);
        tally
    }

    /// Returns the number of items.
    pub fn items(&self) -> u64 {
        self.count.items
    }

    /// Returns true if all of them are in an egress log.
    pub(crate) fn is_on_disk(&self) -> bool {
        self.count.on_disk == self.count.items
    }

    /// Returns the time at which a log got them.
    pub(crate) fn written(&self) -> Option<SystemTime> {
        self.written
    }

    /// Returns the number of guards that it carries.
    #[cfg(test)]
    pub(super) fn guards(&self) -> usize {
        self.guards.len()
    }

    /// Returns the books they stand in.
    pub fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }

    /// Ties these items to one more batch's completion.
    pub(crate) fn guard(&mut self, guard: Guard) {
        self.guards.push(guard);
    }

    /// Ties these items to the record of this guard. If they are given up from now on, they are not
    /// lost.
    pub(crate) fn journal(&mut self, guard: Guard) {
        self.count.journaled = self.count.items;
        self.written = Some(SystemTime::now());
        self.guard(guard);
    }

    /// Sets the time at which their record was written.
    pub(crate) fn write_at(&mut self, written: SystemTime) {
        self.written = Some(written);
    }

    /// Moves `items` of these, at most all, into a tally of their own, in the same account.
    pub(crate) fn split(&mut self, items: u64) -> Self {
        Self {
            ledger: Arc::clone(&self.ledger),
            account: self.account,
            count: self.count.take(items),
            guards: self.share_guards(),
            written: self.written,
            failed_at: self.failed_at.clone(),
        }
    }

    /// Adds the guards of these items to the source of items that are made of them.
    pub(crate) fn trace_to(&mut self, source: &mut Source) {
        source.journaled |= self.count.journaled > 0;
        source.guards.extend(self.share_guards());
    }

    /// Ties items to the source they were made of. If the source is in the journal, so are they:
    /// its record is not finished before them, and after a restart they are made again.
    pub(super) fn made_of(mut self, source: Source) -> Self {
        self.count.journaled = if source.journaled {
            self.count.items
        } else {
            0
        };
        self.guards = source.guards;
        self.share_guards();
        self
    }

    /// Returns the guards for a part. If there are several, they are first folded into one that all
    /// parts share, so that guards do not multiply.
    fn share_guards(&mut self) -> Vec<Guard> {
        if self.guards.len() > 1 {
            let guards = std::mem::take(&mut self.guards);
            self.guards.push(Guard::fold(guards));
        }
        self.guards.clone()
    }

    /// Adds items of the same account to these. Items of another account are transferred first.
    pub(crate) fn join(&mut self, mut other: Self) {
        if other.account != self.account {
            other.transfer(self.account);
        }
        self.count.add(std::mem::take(&mut other.count));
        self.written = self.written.max(other.written);
        // Parts of one batch usually come one after the other. A guard that comes twice with others
        // between is kept twice until the next split: to look for it would cost more.
        let last = self.guards.last();
        let comes_twice = |first: &Guard| last.is_some_and(|last| last.is(first));
        if other.guards.first().is_some_and(comes_twice) {
            other.guards.remove(0);
        }
        self.guards.append(&mut other.guards);
    }

    /// Marks that the stages see these items from now on.
    pub(crate) fn see(&self) {
        self.guards.iter().for_each(Guard::see);
    }

    /// Returns the records of the ingress log that have these items; `None` if some item is in no
    /// such record, or if one of the records has failed.
    pub(crate) fn records(&self) -> Option<BTreeSet<u64>> {
        if self.count.journaled < self.count.items || self.guards.is_empty() {
            return None;
        }
        let mut all = BTreeSet::new();
        for guard in &self.guards {
            all.append(&mut guard.accepted()?);
        }
        Some(all)
    }

    /// Marks that these items are tried again after this stage failed on them.
    pub(crate) fn fail_at(&mut self, stage: Option<Arc<str>>) {
        self.failed_at = stage;
    }

    /// Returns how these items come to this stage. If it is the stage that failed on them, forgets
    /// that.
    pub(crate) fn try_again_at(&mut self, stage: &str) -> StageVisit {
        match self.failed_at.as_deref() {
            None => StageVisit::First,
            Some(failed) if failed == stage => {
                self.failed_at = None;
                StageVisit::AfterFailure
            }
            Some(_) => StageVisit::AfterPass,
        }
    }

    /// Moves all items to another account.
    pub(crate) fn transfer(&mut self, account: Account) {
        let (from, items) = (self.account, self.count.items);
        self.ledger.post(|books| {
            books.leave(from, items);
            books.enter(account, items);
        });
        self.account = account;
    }

    /// Drops `items` of these for a stage's reason.
    pub(crate) fn drop_items(&mut self, column: Column, reason: Reason, items: u64) {
        let Count { items, .. } = self.count.take(items);
        let from = self.account;
        self.ledger.post(|books| {
            books.leave(from, items);
            if let Some(books) = books.stages.get_mut(column.stage) {
                books.add_dropped(column.generation, reason, items);
            }
        });
    }

    /// Drops all of them for a stage's reason.
    pub(crate) fn drop_all(mut self, column: Column, reason: Reason) {
        self.drop_items(column, reason, self.count.items);
    }

    /// Books these items as refused: the sender is told, and still owns them. Items whose sender
    /// already has its OK stay with the journal.
    pub(crate) fn refuse(mut self) {
        let (from, count) = (self.account, std::mem::take(&mut self.count));
        self.guards.iter().for_each(Guard::fail);
        self.ledger.post(|books| {
            books.leave(from, count.items);
            books.journaled += count.journaled;
            books.refused += count.items - count.journaled;
        });
    }

    /// Books that these items leave the last stage. Returns one tally for each of these exporters'
    /// queues, by their columns.
    pub(crate) fn forward(mut self, exporters: impl Iterator<Item = usize> + Clone) -> Vec<Self> {
        let (from, count) = (self.account, std::mem::take(&mut self.count));
        self.ledger.post(|books| {
            books.leave(from, count.items);
            books.forwarded += count.items;
            for exporter in exporters.clone() {
                books.enter(Account::Queue(exporter), count.items);
            }
        });
        let tally = |exporter| Self {
            ledger: Arc::clone(&self.ledger),
            account: Account::Queue(exporter),
            count,
            guards: self.share_guards(),
            written: self.written,
            failed_at: None,
        };
        exporters.map(tally).collect()
    }

    /// Drops these items because there is no room for them. In an exporter's queue account they are
    /// dropped for that exporter alone; at admission, for this pipeline alone, while another one
    /// takes them.
    pub(crate) fn overflow(mut self, full: FullPart) {
        let (from, count) = (self.account, std::mem::take(&mut self.count));
        self.guards.iter().for_each(Guard::fail);
        self.ledger.post(|books| {
            books.leave(from, count.items);
            books.overflow(from, full, count.items);
        });
    }

    /// Books that all of these are in a record of the exporter's log now, so nothing else has to
    /// keep them.
    pub(crate) fn spill(mut self) {
        let (from, count) = (self.account, std::mem::take(&mut self.count));
        let Account::Queue(exporter) = from else {
            // As in `settle`.
            self.count = count;
            return;
        };
        self.ledger.post(|books| {
            books.leave(from, count.items);
            if let Some(column) = books.exporters.get_mut(exporter) {
                column.on_disk += count.items;
            }
        });
    }

    /// Books the end of an export, for all items, in the exporter's column.
    pub(crate) fn settle(mut self, end: End) {
        let (from, count) = (self.account, std::mem::take(&mut self.count));
        match end {
            End::Sent { .. } => {}
            // There is nothing to try again, so the records need not be kept.
            End::Failed | End::TooLarge | End::ExpiredBatches => {
                self.guards.iter().for_each(Guard::reject)
            }
            End::Expired => self.guards.iter().for_each(Guard::fail),
        }
        let Account::Queue(exporter) = from else {
            // Only queued items can end at an exporter; anything else would be a bug here, and
            // giving up keeps the books exact even then.
            self.count = count;
            return;
        };
        let items = count.items;
        self.ledger.post(|books| {
            books.leave(from, items);
            let Some(column) = books.exporters.get_mut(exporter) else {
                return;
            };
            match end {
                End::Sent { rejected } => {
                    let rejected = rejected.min(items);
                    column.sent += items - rejected;
                    column.rejected += rejected;
                }
                End::Failed => column.failed += items,
                End::TooLarge => {
                    column.failed += items;
                    column.too_large += items;
                }
                End::Expired | End::ExpiredBatches => column.expired += items,
            }
        });
    }
}

/// The end of queued items.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The backend has them, except for the items that it refused for good.
    Sent { rejected: u64 },
    /// The backend refused them for good.
    Failed,
    /// The backend refused them for good, because each alone is longer than it takes.
    TooLarge,
    /// Retries went on for `max_elapsed_time`.
    Expired,
    /// Retries went on until they were older than the journal keeps anything.
    ExpiredBatches,
}

impl Drop for Tally {
    fn drop(&mut self) {
        if self.count.items > 0 {
            self.guards.iter().for_each(Guard::fail);
            self.ledger
                .post(|books| books.give_up(self.account, self.count));
        }
    }
}
