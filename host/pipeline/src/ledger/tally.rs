//! A handle on some items in the books.

use std::sync::Arc;

use super::{Column, Ledger};
use crate::completion::Guard;

/// Where items stand while they are inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Account {
    /// Received, not yet answered for.
    Ingress,
    /// On their way through the stages.
    Chain,
    /// Held for a stage, by its index in the pipeline.
    Held(usize),
    /// Queued for an exporter, by its column in the books.
    Queue(usize),
}

/// Why a stage dropped items.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// The plugin's own reason, by its index in the manifest.
    Plugin(u8),
    /// The plugin let go of a held item without a word.
    Undisposed,
    /// The plugin failed and the stage says `on_fault: drop`.
    Fault,
    /// Held beyond the stage's limits, and the stage says `on_fault: drop`.
    HeldLimit,
    /// Still held after the last drain, and the stage says `on_fault: drop`.
    Undrained,
}

impl Reason {
    /// The reason that a verdict or outcome byte stands for (see `wit/v0.1/types.wit`).
    pub(crate) fn from_code(code: u8) -> Self {
        match code {
            u8::MAX => Self::Undisposed,
            code => Self::Plugin(code.saturating_sub(2)),
        }
    }

    /// The name of a reason that is not in the plugin's manifest.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Plugin(_) => "unnamed",
            Self::Undisposed => "undisposed",
            Self::Fault => "fault",
            Self::HeldLimit => "held_limit",
            Self::Undrained => "undrained",
        }
    }
}

/// Some items that stand in one account, with the guards of the batches they came from. Destroyed
/// without a word, it books its items as refused (from ingress) or abandoned.
#[derive(Debug)]
#[must_use]
pub struct Tally {
    ledger: Arc<Ledger>,
    account: Account,
    items: u64,
    guards: Vec<Guard>,
}

impl Tally {
    pub(super) fn new(ledger: Arc<Ledger>, account: Account, items: u64) -> Self {
        Self {
            ledger,
            account,
            items,
            guards: Vec::new(),
        }
    }

    /// How many items.
    pub fn items(&self) -> u64 {
        self.items
    }

    /// The books they stand in.
    pub fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }

    /// Ties these items to one more batch's completion.
    pub(crate) fn guard(&mut self, guard: Guard) {
        self.guards.push(guard);
    }

    /// Takes `items` of these (at most all) into a tally of their own, in the same account.
    pub(crate) fn split(&mut self, items: u64) -> Self {
        let items = items.min(self.items);
        self.items -= items;
        let ledger = Arc::clone(&self.ledger);
        Self {
            ledger,
            account: self.account,
            items,
            guards: self.guards.clone(),
        }
    }

    /// Adds items of the same account to these.
    pub(crate) fn join(&mut self, mut other: Self) {
        if other.account != self.account {
            other.transfer(self.account);
        }
        self.items += std::mem::take(&mut other.items);
        // A guard that comes twice is only kept twice: to look for it would cost more.
        self.guards.append(&mut other.guards);
    }

    /// Moves all items to another account.
    pub(crate) fn transfer(&mut self, account: Account) {
        let (from, items) = (self.account, self.items);
        self.ledger.post(|books| {
            books.leave(from, items);
            books.enter(account, items);
        });
        self.account = account;
    }

    /// Drops `items` of these for a stage's reason.
    pub(crate) fn drop_items(&mut self, column: Column, reason: Reason, items: u64) {
        let items = items.min(self.items);
        self.items -= items;
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
        self.drop_items(column, reason, self.items);
    }

    /// The sender is told, and still owns them.
    pub(crate) fn refuse(mut self) {
        let (from, items) = (self.account, std::mem::take(&mut self.items));
        self.ledger.post(|books| {
            books.leave(from, items);
            books.refused += items;
        });
    }

    /// Leaves the last stage: one tally for each of these exporters' queues, by their columns.
    pub(crate) fn forward(mut self, exporters: impl Iterator<Item = usize> + Clone) -> Vec<Self> {
        let (from, items) = (self.account, std::mem::take(&mut self.items));
        self.ledger.post(|books| {
            books.leave(from, items);
            books.forwarded += items;
            for exporter in exporters.clone() {
                books.enter(Account::Queue(exporter), items);
            }
        });
        let tally = |exporter| Self {
            ledger: Arc::clone(&self.ledger),
            account: Account::Queue(exporter),
            items,
            guards: self.guards.clone(),
        };
        exporters.map(tally).collect()
    }

    /// The end of an export: books all items in the exporter's column.
    pub(crate) fn settle(mut self, end: End) {
        let (from, items) = (self.account, std::mem::take(&mut self.items));
        match end {
            End::Sent { .. } => {}
            End::Failed => self.guards.iter().for_each(Guard::reject),
            End::Expired => self.guards.iter().for_each(Guard::fail),
        }
        let Account::Queue(exporter) = from else {
            // Only queued items can end at an exporter; anything else would be a bug here, and
            // giving up keeps the books exact even then.
            self.items = items;
            return;
        };
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
                End::Expired => column.expired += items,
            }
        });
    }
}

/// How queued items end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The backend has them, but for the items that it refused for good.
    Sent { rejected: u64 },
    /// The backend refused them for good.
    Failed,
    /// Retries went on for `max_elapsed_time`.
    Expired,
}

impl Drop for Tally {
    fn drop(&mut self) {
        if self.items > 0 {
            self.guards.iter().for_each(Guard::fail);
            self.ledger
                .post(|books| books.give_up(self.account, self.items));
        }
    }
}
