//! The figures of a ledger at one moment.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::tally::{Account, Reason};
use crate::stage::FaultKind;

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
    /// One column for each stage, in pipeline order.
    pub stages: Vec<StageBooks>,
    /// One column for each exporter.
    pub exporters: Vec<ExporterBooks>,
}

/// One stage's column.
#[derive(Clone, Debug, Default)]
pub struct StageBooks {
    /// The stage's name in the config.
    pub name: String,
    /// Offered to the stage.
    pub input: u64,
    /// Left the stage towards the next.
    pub output: u64,
    /// Held now.
    pub held: u64,
    /// Bytes held now, as the host stores them.
    pub held_bytes: u64,
    /// Passed by without a judgement, because the plugin failed or its breaker is open.
    pub bypassed: u64,
    /// Calls of the plugin.
    pub calls: u64,
    /// Time inside these calls.
    pub call_time: Duration,
    /// Failed calls, in the order of [`FaultKind::ALL`].
    pub faults: [u64; FaultKind::ALL.len()],
    /// Instances made after a fault.
    pub restarts: u64,
    /// Shards whose breaker is open now.
    pub breakers_open: u64,
    /// Names of the plugin's own drop reasons.
    reasons: Vec<String>,
    dropped: BTreeMap<Reason, u64>,
}

impl StageBooks {
    pub(super) fn new(name: String, reasons: Vec<String>) -> Self {
        Self {
            name,
            reasons,
            ..Self::default()
        }
    }

    /// Dropped so far, each reason by its name.
    pub fn dropped(&self) -> impl Iterator<Item = (&str, u64)> {
        self.dropped
            .iter()
            .map(|(reason, items)| (reason.name(&self.reasons), *items))
    }

    /// Dropped so far, for all reasons.
    pub fn dropped_total(&self) -> u64 {
        self.dropped.values().sum()
    }

    pub(super) fn add_dropped(&mut self, reason: Reason, items: u64) {
        *self.dropped.entry(reason).or_default() += items;
    }

    pub(crate) fn add_fault(&mut self, kind: FaultKind) {
        for (column, counted) in FaultKind::ALL.iter().zip(&mut self.faults) {
            if *column == kind {
                *counted += 1;
            }
        }
    }
}

/// One exporter's column.
#[derive(Clone, Debug, Default)]
pub struct ExporterBooks {
    /// The exporter's name in the config.
    pub name: String,
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
                .all(|e| self.forwarded == e.queued + e.sent + e.lost())
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
        if let [exporter] = self.exporters.as_slice() {
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
                    e.name, self.forwarded, e.sent
                )?;
                write!(f, " + failed {}", e.rejected + e.failed + e.expired)?;
                write!(f, " + abandoned {} + queued {}", e.abandoned, e.queued)?;
            }
            Ok(())
        }
    }
}
