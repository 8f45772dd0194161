//! One exporter's column: its figures.

use super::figure::{Figure, Side, Unit, balances};

/// One exporter's column.
#[derive(Clone, Debug, Default)]
pub struct ExporterBooks {
    /// The exporter's name in the config.
    pub name: String,
    /// True if the exporter was not there all the time: it came later, or was taken away.
    pub absent: bool,
    /// Items that entered its queue.
    pub entered: u64,
    /// Items in its log when the pipeline was built.
    pub recovered: u64,
    /// Items in the queue, the batcher, or an attempt now.
    pub queued: u64,
    /// Items in its log now, and not in the queue.
    pub on_disk: u64,
    /// Items that the backend confirmed.
    pub sent: u64,
    /// Items that the backend refused for good although it took the request (`partial_success`).
    pub rejected: u64,
    /// Items given up because the backend refused them for good.
    pub failed: u64,
    /// The part of `failed` in which each item alone is longer than the backend takes.
    pub too_large: u64,
    /// Items given up after `max_elapsed_time` of retries.
    pub expired: u64,
    /// Items given up at the drain's deadline.
    pub abandoned: u64,
    /// Items given up in memory that the journal still has.
    pub journaled: u64,
    /// Items dropped for this exporter alone, because its queue was full.
    pub overflowed: u64,
    /// Items for which its queue had no room: those dropped for it, and those refused to their
    /// sender or dropped at admission.
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

    /// Returns the number of items that were in this exporter's queue and were given up, whatever
    /// the cause.
    pub fn lost(&self) -> u64 {
        self.rejected + self.failed + self.expired + self.abandoned
    }

    /// Returns the number of items that were given up before the drain's deadline.
    pub fn given_up(&self) -> u64 {
        self.rejected + self.failed + self.expired
    }

    /// Returns true if everything that entered its queue is accounted for, and everything that left
    /// the last stage did enter it, unless the exporter was absent for a while.
    pub(super) fn is_balanced(&self, forwarded: u64) -> bool {
        let whole = if self.absent {
            self.entered <= forwarded
        } else {
            self.entered == forwarded
        };
        whole && balances(&self.columns())
    }

    /// Returns all figures of this column.
    #[rustfmt::skip]
    pub fn columns(&self) -> [Figure; 14] {
        use Side::{Aside, Inside, Into, OutOf};
        let metric = Some;
        [
            Figure::new("entered", self.entered, Into, None, "Items that entered its queue."),
            Figure::new("recovered", self.recovered, Into, metric("spandrel_ledger_exporter_recovered_items"), "Items in its log when the pipeline was built.").of_journal(),
            Figure::new("queued", self.queued, Inside, metric("spandrel_ledger_queued_items"), "Items in the queue, the batcher, or an attempt."),
            Figure::new("on_disk", self.on_disk, OutOf, metric("spandrel_ledger_exporter_on_disk_items"), "Items in its log, and not in the queue.").of_journal(),
            Figure::new("journaled", self.journaled, OutOf, metric("spandrel_ledger_exporter_journaled_items"), "Items given up in memory that the journal still has.").of_journal(),
            Figure::new("exported", self.sent, OutOf, metric("spandrel_ledger_exported_items_total"), "Items that the backend confirmed."),
            Figure::new("rejected", self.rejected, OutOf, metric("spandrel_ledger_rejected_items_total"), "Items that the backend refused for good although it took the request."),
            Figure::new("failed", self.failed, OutOf, None, "Items given up because the backend refused them for good."),
            Figure::new("expired", self.expired, OutOf, None, "Items given up after the longest time for retries."),
            Figure::new("abandoned", self.abandoned, OutOf, None, "Items given up at the drain's deadline."),
            Figure::new("overflowed", self.overflowed, OutOf, metric("spandrel_exporter_overflowed_items_total"), "Items dropped for this exporter alone, because its queue was full."),
            Figure::new("lost", self.lost(), Aside, None, "Items that were in its queue and were given up."),
            Figure::new("too_large", self.too_large, Aside, None, "The failed items that alone are longer than the backend takes."),
            Figure::new("attempts", self.attempts, Aside, None, "Attempts made.").unit(Unit::Requests),
        ]
    }
}
