//! The figures of a ledger at one moment.

use std::fmt;

use super::stage::StageBooks;
use super::tally::Account;

/// All figures are items, unless their name says otherwise.
#[derive(Clone, Debug, Default)]
pub struct Books {
    /// Came in with valid requests.
    pub received: u64,
    /// Refused: the sender was told, and still owns them.
    pub refused: u64,
    /// Made by plugins.
    pub created: u64,
    /// Received, and not yet answered for.
    pub ingress: u64,
    /// On their way through the stages.
    pub chain: u64,
    /// Left the last stage, for every exporter.
    pub forwarded: u64,
    /// Given up before they left the last stage.
    pub abandoned: u64,
    /// Requests that were not valid, and so have no item count.
    pub invalid_requests: u64,
    /// One column for each stage that there is or was; each says where it stands.
    pub stages: Vec<StageBooks>,
    /// One column for each exporter that was ever there, in the order of their coming.
    pub exporters: Vec<ExporterBooks>,
}

/// One exporter's column.
#[derive(Clone, Debug, Default)]
pub struct ExporterBooks {
    /// The exporter's name in the config.
    pub name: String,
    /// Whether the exporter was not there all the time: it came later, or was taken away.
    pub absent: bool,
    /// Entered its queue.
    pub entered: u64,
    /// In the queue, the batcher, or an attempt now.
    pub queued: u64,
    /// The backend said it has them.
    pub sent: u64,
    /// The backend took the request but refused these items for good (`partial_success`).
    pub rejected: u64,
    /// Given up: the backend refused them for good.
    pub failed: u64,
    /// Given up after `max_elapsed_time` of retries.
    pub expired: u64,
    /// Given up at the drain's deadline.
    pub abandoned: u64,
    /// Items refused at the door because this exporter's queue was full.
    pub enqueue_failed: u64,
    /// Attempts made, in requests.
    pub attempts: u64,
}

impl ExporterBooks {
    pub(super) fn new(name: String) -> Self {
        Self {
            name,
            ..Self::default()
        }
    }

    /// Items that this exporter gave up, whatever the cause.
    pub fn lost(&self) -> u64 {
        self.rejected + self.failed + self.expired + self.abandoned
    }

    /// Whether what entered its queue is accounted for, and whether all of what left the last stage
    /// did enter it, unless the exporter was not there for a while.
    fn is_balanced(&self, forwarded: u64) -> bool {
        let whole = if self.absent {
            self.entered <= forwarded
        } else {
            self.entered == forwarded
        };
        whole && self.entered == self.queued + self.sent + self.lost()
    }
}

impl Books {
    /// Held now, by all stages.
    pub fn held(&self) -> u64 {
        self.stages.iter().map(|stage| stage.held).sum()
    }

    /// Dropped so far, by all stages.
    pub fn dropped(&self) -> u64 {
        self.stages.iter().map(StageBooks::dropped_total).sum()
    }

    /// Given up at a deadline, before or after the last stage.
    pub fn abandoned(&self) -> u64 {
        self.abandoned
            + self
                .exporters
                .iter()
                .map(|exporter| exporter.abandoned)
                .sum::<u64>()
    }

    /// Whether every item is accounted for: what came in equals what left and what is here, in
    /// front of the last stage and behind it for each exporter.
    pub fn is_balanced(&self) -> bool {
        let inside = self.ingress + self.chain + self.held();
        let left = self.refused + self.dropped() + self.forwarded + self.abandoned;
        let chain = self.received + self.created == left + inside;
        chain
            && self
                .exporters
                .iter()
                .all(|exporter| exporter.is_balanced(self.forwarded))
    }

    /// Left the last stage while this exporter was not there.
    pub fn missed(&self, exporter: &ExporterBooks) -> u64 {
        self.forwarded.saturating_sub(exporter.entered)
    }

    /// Whether nothing is left inside; true after a drain.
    pub fn is_settled(&self) -> bool {
        let queued: u64 = self.exporters.iter().map(|exporter| exporter.queued).sum();
        self.ingress + self.chain + self.held() + queued == 0
    }

    pub(super) fn leave(&mut self, account: Account, items: u64) {
        // An account can only be left by items that entered it: Tally sees to that.
        match account {
            Account::Ingress => self.ingress = self.ingress.saturating_sub(items),
            Account::Chain => self.chain = self.chain.saturating_sub(items),
            Account::Held(stage) => {
                if let Some(column) = self.stages.get_mut(stage) {
                    column.held = column.held.saturating_sub(items);
                }
            }
            Account::Queue(exporter) => {
                if let Some(column) = self.exporters.get_mut(exporter) {
                    column.queued = column.queued.saturating_sub(items);
                }
            }
        }
    }

    pub(super) fn enter(&mut self, account: Account, items: u64) {
        match account {
            Account::Ingress => self.ingress += items,
            Account::Chain => self.chain += items,
            Account::Held(stage) => {
                if let Some(column) = self.stages.get_mut(stage) {
                    column.held += items;
                }
            }
            Account::Queue(exporter) => {
                if let Some(column) = self.exporters.get_mut(exporter) {
                    column.entered += items;
                    column.queued += items;
                }
            }
        }
    }

    /// What becomes of items whose tally was destroyed: refused if nobody was told yes, abandoned
    /// otherwise.
    pub(super) fn give_up(&mut self, account: Account, items: u64) {
        self.leave(account, items);
        match account {
            Account::Ingress => self.refused += items,
            Account::Chain | Account::Held(_) => self.abandoned += items,
            Account::Queue(exporter) => {
                if let Some(column) = self.exporters.get_mut(exporter) {
                    column.abandoned += items;
                }
            }
        }
    }
}

impl fmt::Display for Books {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "received {}", self.received)?;
        if self.created > 0 {
            write!(f, " + created {}", self.created)?;
        }
        write!(
            f,
            " = refused {} + dropped {}",
            self.refused,
            self.dropped()
        )?;
        let reasons = self.stages.iter().flat_map(|stage| {
            stage
                .dropped()
                .map(|(reason, items)| format!("{}/{reason} {items}", stage.name))
        });
        let reasons = reasons.collect::<Vec<_>>().join(", ");
        if !reasons.is_empty() {
            write!(f, " ({reasons})")?;
        }
        if let [exporter] = self.exporters.as_slice()
            && !exporter.absent
        {
            write!(f, " + exported {}", exporter.sent)?;
            write!(
                f,
                " + failed {}",
                exporter.rejected + exporter.failed + exporter.expired
            )?;
            write!(f, " + abandoned {}", self.abandoned())?;
            write!(
                f,
                " + held {} + queued {}",
                self.held(),
                exporter.queued + self.chain + self.ingress
            )
        } else {
            write!(f, " + forwarded {}", self.forwarded)?;
            write!(f, " + abandoned {} + held {}", self.abandoned, self.held())?;
            write!(f, " + queued {}", self.chain + self.ingress)?;
            for e in &self.exporters {
                write!(
                    f,
                    "; {}: forwarded {} = exported {}",
                    e.name, e.entered, e.sent
                )?;
                write!(f, " + failed {}", e.rejected + e.failed + e.expired)?;
                write!(f, " + abandoned {} + queued {}", e.abandoned, e.queued)?;
            }
            Ok(())
        }
    }
}
