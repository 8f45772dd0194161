//! The figures of a ledger at one moment.

use std::fmt;

use super::reason::Full;
use super::stage::StageBooks;
use super::tally::{Account, Count};

/// All figures are items, unless their name says otherwise.
#[derive(Clone, Debug, Default)]
pub struct Books {
    /// Came in with valid requests.
    pub received: u64,
    /// Refused: the sender was told, and still owns them.
    pub refused: u64,
    /// Dropped at the door, because this pipeline had no room for what another one took.
    pub overflowed: Overflowed,
    /// Made by plugins.
    pub created: u64,
    /// Came from the journal again: what an earlier process accepted and had not finished, and what
    /// this one sent back.
    pub replayed: u64,
    /// Of `replayed`: what this process had sent back itself.
    pub returned: u64,
    /// Received, and not yet answered for.
    pub ingress: u64,
    /// On their way through the stages.
    pub chain: u64,
    /// Left the last stage, for every exporter.
    pub forwarded: u64,
    /// Given up before they left the last stage.
    pub abandoned: u64,
    /// Given up before they left the last stage, or sent back after a fault; the journal has them.
    pub journaled: u64,
    /// Put on the shelf, because they failed every time.
    pub quarantined: u64,
    /// Damaged in the journal: accepted by an earlier process, and lost.
    pub damaged: u64,
    /// Records that are damaged in the journal, and files of it, of which nobody knows how many items
    /// are lost with them: not in any other figure.
    pub unknown_losses: u64,
    /// Times that the stages could not go on with what they knew before the restart.
    pub unused_handovers: u64,
    /// Requests that were not valid, and so have no item count.
    pub invalid_requests: u64,
    /// Of `refused`: items in which something is wrong, whose sender was told that they are refused for
    /// good while the rest of its request was accepted.
    pub invalid_items: u64,
    /// One column for each stage that there is or was; each says where it stands.
    pub stages: Vec<StageBooks>,
    /// One column for each exporter that was ever there, in the order of their coming.
    pub exporters: Vec<ExporterBooks>,
}

/// Dropped at a pipeline's door, by what had no room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Overflowed {
    /// The queues of all its exporters were full.
    pub queues: u64,
    /// Its shards were busy.
    pub shards: u64,
}

impl Overflowed {
    /// All of it.
    pub fn total(self) -> u64 {
        self.queues + self.shards
    }
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
    /// In its log when the pipeline was built.
    pub recovered: u64,
    /// In the queue, the batcher, or an attempt now.
    pub queued: u64,
    /// In its log now, and not in the queue.
    pub on_disk: u64,
    /// The backend said it has them.
    pub sent: u64,
    /// The backend took the request but refused these items for good (`partial_success`).
    pub rejected: u64,
    /// Given up: the backend refused them for good.
    pub failed: u64,
    /// Of `failed`: each alone is longer than the backend takes.
    pub too_large: u64,
    /// Given up after `max_elapsed_time` of retries.
    pub expired: u64,
    /// Given up at the drain's deadline.
    pub abandoned: u64,
    /// Given up in memory; the journal has them.
    pub journaled: u64,
    /// Dropped for this exporter alone: its queue was full.
    pub overflowed: u64,
    /// Items for which its queue had no room: those that were dropped for it, and those that were refused
    /// to their sender or dropped at the door.
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

    /// Items that this exporter had in its queue and gave up, whatever the cause.
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
        let kept = self.queued + self.on_disk + self.journaled;
        whole && self.entered + self.recovered == kept + self.sent + self.lost() + self.overflowed
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
        let ended = self.refused + self.dropped() + self.overflowed.total();
        let left = ended + self.forwarded + self.abandoned;
        let kept = self.journaled + self.quarantined + self.damaged;
        let chain = self.received + self.created + self.replayed == left + kept + inside;
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

    /// Accepted, and neither here nor lost: a log has them for the next start. Items that wait for
    /// several exporters count for each.
    pub fn kept_on_disk(&self) -> u64 {
        let exporters = self.exporters.iter();
        let kept: u64 = exporters.map(|e| e.on_disk + e.journaled).sum();
        self.journaled.saturating_sub(self.returned) + kept
    }

    /// Whether nothing is left inside; true after a drain. What is on the disk is not inside.
    pub fn is_settled(&self) -> bool {
        let queued: u64 = self.exporters.iter().map(|exporter| exporter.queued).sum();
        self.ingress + self.chain + self.held() + queued == 0
    }

    /// Items come from the journal.
    pub(crate) fn add_replayed(&mut self, items: u64, returned: bool) {
        self.replayed += items;
        self.returned += if returned { items } else { 0 };
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

    /// Items that have left this account find no room.
    pub(super) fn overflow(&mut self, from: Account, full: Full, items: u64) {
        match (from, full) {
            (Account::Queue(exporter), _) => {
                if let Some(column) = self.exporters.get_mut(exporter) {
                    column.overflowed += items;
                    column.enqueue_failed += items;
                }
            }
            (_, Full::Queues) => self.overflowed.queues += items,
            (_, Full::Shards) => self.overflowed.shards += items,
        }
    }

    /// What becomes of items whose tally was destroyed: refused if nobody was told yes; otherwise
    /// those that a log has stay there, and the others are abandoned.
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

/// A summand that is said only when it is not zero: without a journal there is none.
fn some(f: &mut fmt::Formatter<'_>, what: &str, items: u64) -> fmt::Result {
    match items {
        0 => Ok(()),
        items => write!(f, " + {what} {items}"),
    }
}

/// How many items each stage dropped for which reason.
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
