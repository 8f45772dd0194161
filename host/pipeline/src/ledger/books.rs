//! The figures of a ledger at one moment.

use std::fmt;

use super::exporter::ExporterBooks;
use super::figure::{Figure, Side, Unit, balances};
use super::reason::FullPart;
use super::stage::StageBooks;
use super::tally::{Account, Count};

/// All figures are items, unless their name says otherwise.
#[derive(Clone, Debug, Default)]
pub struct Books {
    /// Items that came in with valid requests.
    pub received: u64,
    /// Items that were refused: their sender was told, and still owns them.
    pub refused: u64,
    /// Items dropped at admission, because this pipeline had no room while another one took them.
    pub overflowed: Overflow,
    /// Items made by plugins.
    pub created: u64,
    /// Items that came from the journal again: those that an earlier process accepted and had not
    /// finished, and those that this one sent back.
    pub replayed: u64,
    /// The part of `replayed` that this process had sent back itself.
    pub returned: u64,
    /// Items received whose sender has no answer yet.
    pub ingress: u64,
    /// Items on their way through the stages.
    pub chain: u64,
    /// Items that left the last stage, for every exporter.
    pub forwarded: u64,
    /// Items given up before they left the last stage.
    pub abandoned: u64,
    /// Items given up before they left the last stage, or sent back after a fault, that the journal
    /// still has.
    pub journaled: u64,
    /// Items put into quarantine, because they failed every time.
    pub quarantined: u64,
    /// Items damaged in the journal: an earlier process accepted them, and they are lost.
    pub damaged: u64,
    /// Damaged records and damaged files of the journal for which the number of lost items is not
    /// known. They are not in any other figure.
    pub unknown_losses: u64,
    /// The number of starts at which the stages could not go on with their state from before the
    /// restart.
    pub unused_handovers: u64,
    /// Requests that were not valid, and so have no item count.
    pub invalid_requests: u64,
    /// The part of `refused` that are invalid items: their sender was told that they are refused
    /// for good, while the rest of its request was accepted.
    pub invalid_items: u64,
    /// One column for each present or former stage; each says where it stands.
    pub stages: Vec<StageBooks>,
    /// One column for each exporter that was ever there, in the order in which they came.
    pub exporters: Vec<ExporterBooks>,
}

/// Items dropped at the admission of a pipeline, by what had no room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Overflow {
    /// Dropped because the queues of all its exporters were full.
    pub queues: u64,
    /// Dropped because its shards were busy.
    pub shards: u64,
}

impl Overflow {
    /// Returns the sum of both.
    pub fn total(self) -> u64 {
        self.queues + self.shards
    }
}

impl Books {
    /// Returns the number of items that all stages hold now.
    pub fn held(&self) -> u64 {
        self.stages.iter().map(|stage| stage.held).sum()
    }

    /// Returns the number of items that all stages dropped so far.
    pub fn dropped(&self) -> u64 {
        self.stages.iter().map(StageBooks::dropped_total).sum()
    }

    /// Returns the number of items given up at a deadline, before or after the last stage.
    pub fn abandoned(&self) -> u64 {
        self.abandoned
            + self
                .exporters
                .iter()
                .map(|exporter| exporter.abandoned)
                .sum::<u64>()
    }

    /// Returns the number of items that are in front of the last stage and not held.
    pub fn in_flight(&self) -> u64 {
        self.ingress + self.chain
    }

    /// Returns true if every item is accounted for: the items that came in equal those that left
    /// and those that are here, in front of the last stage and behind it for each exporter.
    pub fn is_balanced(&self) -> bool {
        let mut exporters = self.exporters.iter();
        balances(&self.columns()) && exporters.all(|exporter| exporter.is_balanced(self.forwarded))
    }

    /// Returns all figures in front of the last stage.
    #[rustfmt::skip]
    pub fn columns(&self) -> [Figure; 19] {
        use Side::{Aside, Inside, Into, OutOf};
        let metric = Some;
        [
            Figure::new("received", self.received, Into, metric("spandrel_ledger_received_items_total"), "Items that came in with valid requests."),
            Figure::new("created", self.created, Into, metric("spandrel_ledger_created_items_total"), "Items made by plugins."),
            Figure::new("refused", self.refused, OutOf, metric("spandrel_ledger_refused_items_total"), "Items refused to their sender, who still owns them."),
            Figure::new("dropped", self.dropped(), OutOf, metric("spandrel_ledger_dropped_items_total"), "Items dropped by stages."),
            Figure::new("overflowed", self.overflowed.total(), OutOf, None, "Items dropped on arrival, because there was no room for items that another pipeline accepted."),
            Figure::new("forwarded", self.forwarded, OutOf, metric("spandrel_ledger_forwarded_items_total"), "Items that left the last stage, for every exporter."),
            Figure::new("abandoned", self.abandoned, OutOf, None, "Items given up before they left the last stage."),
            Figure::new("held", self.held(), Inside, metric("spandrel_ledger_held_items"), "Items that plugins hold."),
            Figure::new("in_flight", self.in_flight(), Inside, metric("spandrel_ledger_in_flight_items"), "Items received without an answer, or on their way through the stages."),
            Figure::new("replayed", self.replayed, Into, metric("spandrel_ledger_replayed_items_total"), "Items that came from the journal again.").of_journal(),
            Figure::new("journaled", self.journaled, OutOf, metric("spandrel_ledger_journaled_items_total"), "Items that went back to the journal.").of_journal(),
            Figure::new("quarantined", self.quarantined, OutOf, metric("spandrel_ledger_quarantined_items_total"), "Items of batches that failed every time.").of_journal(),
            Figure::new("damaged", self.damaged, OutOf, metric("spandrel_ledger_damaged_items_total"), "Items damaged in the journal: an earlier process accepted them, and they are lost.").of_journal(),
            Figure::new("returned", self.returned, Aside, None, "The replayed items that this process had sent back itself."),
            Figure::new("given_up", self.abandoned(), Aside, metric("spandrel_ledger_abandoned_items_total"), "Items given up at a deadline, in front of the last stage or behind it."),
            Figure::new("invalid_items", self.invalid_items, Aside, metric("spandrel_ledger_invalid_items_total"), "The refused items that are invalid, while the rest of their request was accepted."),
            Figure::new("invalid_requests", self.invalid_requests, Aside, metric("spandrel_ledger_invalid_requests_total"), "Requests that were not valid, and so have no item count.").unit(Unit::Requests),
            Figure::new("unknown_losses", self.unknown_losses, Aside, None, "Damaged records and files of the journal for which nobody knows how many items are lost.").unit(Unit::Records),
            Figure::new("unused_handovers", self.unused_handovers, Aside, metric("spandrel_journal_unused_handovers_total"), "Starts at which the stages could not go on with their state from before the restart.").unit(Unit::Starts).of_journal(),
        ]
    }

    /// Returns the number of items that left the last stage while this exporter was absent.
    pub fn missed(&self, exporter: &ExporterBooks) -> u64 {
        self.forwarded.saturating_sub(exporter.entered)
    }

    /// Returns the number of accepted items that are neither here nor lost: a log has them for the
    /// next start. Items that wait for several exporters count once for each.
    pub fn kept_on_disk(&self) -> u64 {
        let exporters = self.exporters.iter();
        let kept: u64 = exporters.map(|e| e.on_disk + e.journaled).sum();
        self.journaled.saturating_sub(self.returned) + kept
    }

    /// Returns true if nothing is left inside, as after a drain. Items on the disk are not inside.
    pub fn is_settled(&self) -> bool {
        let queued: u64 = self.exporters.iter().map(|exporter| exporter.queued).sum();
        self.ingress + self.chain + self.held() + queued == 0
    }

    /// Books items that come from the journal.
    pub(crate) fn add_replayed(&mut self, items: u64, returned: bool) {
        self.replayed += items;
        self.returned += if returned { items } else { 0 };
    }

    pub(super) fn leave(&mut self, account: Account, items: u64) {
        // Only items that entered an account can leave it: `Tally` ensures that.
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

    /// Books items that have left this account and find no room.
    pub(super) fn overflow(&mut self, from: Account, full: FullPart, items: u64) {
        match (from, full) {
            (Account::Queue(exporter), _) => {
                if let Some(column) = self.exporters.get_mut(exporter) {
                    column.overflowed += items;
                    column.enqueue_failed += items;
                }
            }
            (_, FullPart::Queues) => self.overflowed.queues += items,
            (_, FullPart::Shards) => self.overflowed.shards += items,
        }
    }

    /// Books items whose tally was dropped: as refused if no sender was told yes; otherwise those
    /// that a log has stay there, and the others are abandoned.
    pub(super) fn give_up(&mut self, account: Account, count: Count) {
        self.leave(account, count.items);
        match account {
            Account::Ingress => self.refused += count.items,
            Account::Chain | Account::Held(_) => {
                self.journaled += count.journaled;
                self.abandoned += count.items - count.journaled;
            }
            Account::Queue(exporter) => {
                if let Some(column) = self.exporters.get_mut(exporter) {
                    column.journaled += count.journaled;
                    column.on_disk += count.on_disk;
                    column.abandoned += count.loose();
                }
            }
        }
    }
}

/// Writes a summand unless it is zero, so that books without a journal do not mention one.
fn some(f: &mut fmt::Formatter<'_>, what: &str, items: u64) -> fmt::Result {
    match items {
        0 => Ok(()),
        items => write!(f, " + {what} {items}"),
    }
}

/// Writes how many items each stage dropped for which reason.
fn write_reasons(f: &mut fmt::Formatter<'_>, stages: &[StageBooks]) -> fmt::Result {
    let reasons = stages.iter().flat_map(|stage| {
        stage
            .dropped()
            .map(|(reason, items)| format!("{}/{reason} {items}", stage.name))
    });
    let reasons = reasons.collect::<Vec<_>>().join(", ");
    if reasons.is_empty() {
        Ok(())
    } else {
        write!(f, " ({reasons})")
    }
}

impl fmt::Display for Books {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "received {}", self.received)?;
        if self.created > 0 {
            write!(f, " + created {}", self.created)?;
        }
        some(f, "replayed", self.replayed)?;
        let alone = match self.exporters.as_slice() {
            [exporter] if !exporter.absent => Some(exporter),
            _ => None,
        };
        if let Some(exporter) = alone {
            some(f, "recovered", exporter.recovered)?;
        }
        write!(
            f,
            " = refused {} + dropped {}",
            self.refused,
            self.dropped()
        )?;
        write_reasons(f, &self.stages)?;
        let overflowed = self.overflowed.total();
        some(
            f,
            "overflowed",
            overflowed + alone.map_or(0, |exporter| exporter.overflowed),
        )?;
        some(f, "quarantined", self.quarantined)?;
        some(f, "damaged", self.damaged)?;
        if self.unknown_losses > 0 {
            write!(f, " (and {} of unknown size)", self.unknown_losses)?;
        }
        if let Some(exporter) = alone {
            some(f, "journaled", self.journaled + exporter.journaled)?;
            some(f, "on disk", exporter.on_disk)?;
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
            some(f, "journaled", self.journaled)?;
            write!(f, " + forwarded {}", self.forwarded)?;
            write!(f, " + abandoned {} + held {}", self.abandoned, self.held())?;
            write!(f, " + queued {}", self.chain + self.ingress)?;
            for e in &self.exporters {
                write!(f, "; {}: forwarded {}", e.name, e.entered)?;
                some(f, "recovered", e.recovered)?;
                write!(f, " = exported {}", e.sent)?;
                some(f, "overflowed", e.overflowed)?;
                some(f, "journaled", e.journaled)?;
                some(f, "on disk", e.on_disk)?;
                write!(f, " + failed {}", e.rejected + e.failed + e.expired)?;
                write!(f, " + abandoned {} + queued {}", e.abandoned, e.queued)?;
            }
            Ok(())
        }
    }
}
