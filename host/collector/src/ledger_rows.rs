//! The final state of the ledger, in rows that balance: one row for each pipeline and exporter.
//!
//! `received + created = refused + dropped + exported + abandoned + missed + held + queued`. Items
//! that an exporter gave up count as `dropped`; `failed` says how many they are. `overflowed` says
//! how many items were dropped because there was no room for them. Journals add
//! `replayed + recovered` on the left, and `journaled + on_disk + quarantined + damaged` on the
//! right. An exporter that came or went while the pipeline ran has `missed` the items that passed
//! without it.

use spandrel_pipeline::ledger::Books;
use tracing::info;

/// The places of all items of a pipeline, as one of its exporters sees them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LedgerRow {
    pub(crate) received: u64,
    pub(crate) created: u64,
    pub(crate) refused: u64,
    pub(crate) dropped: u64,
    pub(crate) failed: u64,
    pub(crate) overflowed: u64,
    pub(crate) exported: u64,
    pub(crate) abandoned: u64,
    pub(crate) missed: u64,
    pub(crate) held: u64,
    pub(crate) queued: u64,
    /// Items that came from the journal of an earlier process.
    pub(crate) replayed: u64,
    /// Items that waited on disk for this exporter at the start.
    pub(crate) recovered: u64,
    pub(crate) quarantined: u64,
    pub(crate) damaged: u64,
    /// Damaged records and files of the journal for which nobody knows how many items are lost.
    /// They are outside the balance.
    pub(crate) unknown_losses: u64,
    /// Items that stay in the journal, to be processed at the next start.
    pub(crate) journaled: u64,
    /// Items that stay on disk for this exporter.
    pub(crate) on_disk: u64,
}

/// Returns a row for each exporter, by its name.
pub(crate) fn rows(books: &Books) -> Vec<(&str, LedgerRow)> {
    let row = |exporter: &spandrel_pipeline::ledger::ExporterBooks| {
        let failed = exporter.rejected + exporter.failed + exporter.expired;
        let overflowed = books.overflowed.total() + exporter.overflowed;
        LedgerRow {
            received: books.received,
            created: books.created,
            refused: books.refused,
            dropped: books.dropped() + failed + overflowed,
            failed,
            overflowed,
            exported: exporter.sent,
            abandoned: books.abandoned + exporter.abandoned,
            missed: books.missed(exporter),
            held: books.held(),
            queued: books.ingress + books.chain + exporter.queued,
            // Items that went back to the journal and came again are in both counts.
            replayed: books.replayed.saturating_sub(books.returned),
            recovered: exporter.recovered,
            quarantined: books.quarantined,
            damaged: books.damaged,
            unknown_losses: books.unknown_losses,
            journaled: books.journaled.saturating_sub(books.returned) + exporter.journaled,
            on_disk: exporter.on_disk,
        }
    };
    books
        .exporters
        .iter()
        .map(|exporter| (exporter.name.as_str(), row(exporter)))
        .collect()
}

impl LedgerRow {
    pub(crate) fn is_balanced(&self) -> bool {
        let left = self.refused + self.dropped + self.exported + self.abandoned + self.missed;
        let kept = self.journaled + self.on_disk + self.quarantined + self.damaged;
        let came = self.received + self.created + self.replayed + self.recovered;
        came == left + kept + self.held + self.queued
    }

    /// Adds another row. The sum of two pipelines' rows balances if both rows do.
    pub(crate) fn add(&mut self, other: &Self) {
        self.received += other.received;
        self.created += other.created;
        self.refused += other.refused;
        self.dropped += other.dropped;
        self.failed += other.failed;
        self.overflowed += other.overflowed;
        self.exported += other.exported;
        self.abandoned += other.abandoned;
        self.missed += other.missed;
        self.held += other.held;
        self.queued += other.queued;
        self.replayed += other.replayed;
        self.recovered += other.recovered;
        self.quarantined += other.quarantined;
        self.damaged += other.damaged;
        self.unknown_losses += other.unknown_losses;
        self.journaled += other.journaled;
        self.on_disk += other.on_disk;
    }
}

/// Returns the row with the fewest exported items. A pipeline with several exporters is judged by
/// it.
pub(crate) fn worst_row(books: &Books) -> LedgerRow {
    let rows = rows(books).into_iter().map(|(_, row)| row);
    rows.min_by_key(|row| row.exported + row.missed)
        .unwrap_or_default()
}

/// Returns true if nothing is left inside, nothing was abandoned and everything is accounted for.
/// Items that a journal keeps for the next start count as neither.
pub(crate) fn is_done(books: &Books) -> bool {
    books.is_balanced() && books.is_settled() && books.abandoned() == 0
}

/// Returns the number unless it is zero. Such fields are logged only where they apply: exporters
/// that came or went while the pipeline ran, and journals.
pub(crate) fn some(items: u64) -> Option<u64> {
    (items > 0).then_some(items)
}

pub(crate) fn log_row(pipeline: &str, exporter: &str, row: &LedgerRow) {
    info!(
        pipeline,
        exporter,
        received = row.received,
        created = row.created,
        refused = row.refused,
        dropped = row.dropped,
        failed = row.failed,
        overflowed = some(row.overflowed),
        exported = row.exported,
        abandoned = row.abandoned,
        missed = some(row.missed),
        held = row.held,
        queued = row.queued,
        replayed = some(row.replayed),
        recovered = some(row.recovered),
        quarantined = some(row.quarantined),
        damaged = some(row.damaged),
        unknown_losses = some(row.unknown_losses),
        journaled = some(row.journaled),
        on_disk = some(row.on_disk),
        balanced = row.is_balanced(),
        "ledger"
    );
}

#[cfg(test)]
mod tests {
    use spandrel_pipeline::ledger::{ExporterBooks, Overflowed};

    use super::*;

    /// Each exporter's row balances, and a pipeline is judged by the exporter that did worst.
    #[test]
    fn rows_balance_for_each_exporter() {
        let exporter = |name: &str, sent, expired, queued| ExporterBooks {
            name: name.to_owned(),
            entered: sent + expired + queued,
            sent,
            expired,
            queued,
            ..ExporterBooks::default()
        };
        let books = Books {
            received: 10,
            created: 1,
            refused: 2,
            forwarded: 8,
            abandoned: 1,
            exporters: vec![exporter("good", 8, 0, 0), exporter("slow", 3, 4, 1)],
            ..Books::default()
        };
        assert!(books.is_balanced());
        assert!(rows(&books).iter().all(|(_, row)| row.is_balanced()));
        let worst_row = worst_row(&books);
        assert_eq!(
            (
                worst_row.exported,
                worst_row.dropped,
                worst_row.failed,
                worst_row.queued
            ),
            (3, 4, 4, 1)
        );
    }

    /// Items that found no room are dropped, for one exporter or for the whole pipeline, and are
    /// counted separately.
    #[test]
    fn what_overflowed_is_dropped() {
        let exporter = |name: &str, sent, overflowed| ExporterBooks {
            name: name.to_owned(),
            entered: 7,
            sent,
            overflowed,
            ..ExporterBooks::default()
        };
        let books = Books {
            received: 10,
            overflowed: Overflowed {
                queues: 2,
                shards: 1,
            },
            forwarded: 7,
            exporters: vec![exporter("good", 7, 0), exporter("dead", 1, 6)],
            ..Books::default()
        };
        assert!(books.is_balanced());
        assert!(rows(&books).iter().all(|(_, row)| row.is_balanced()));
        let overflowed = rows(&books).into_iter().map(|(_, row)| row.overflowed);
        assert_eq!(overflowed.collect::<Vec<_>>(), [3, 9]);
        assert_eq!(worst_row(&books).dropped, 9);
    }

    /// The items that a journal has at the start and at the end balance like the rest. Items that
    /// were sent back to it meanwhile count once.
    #[test]
    fn what_a_journal_has_is_in_the_row() {
        let exporter = ExporterBooks {
            name: "slow".to_owned(),
            entered: 12,
            recovered: 5,
            sent: 9,
            on_disk: 6,
            journaled: 2,
            ..ExporterBooks::default()
        };
        let books = Books {
            received: 10,
            replayed: 9,
            returned: 4,
            forwarded: 12,
            journaled: 5,
            quarantined: 1,
            damaged: 1,
            exporters: vec![exporter],
            ..Books::default()
        };
        assert!(books.is_balanced());
        let row = worst_row(&books);
        assert!(row.is_balanced(), "{row:?}");
        assert_eq!((row.replayed, row.journaled, row.on_disk), (5, 3, 6));
    }

    /// An exporter that came while the pipeline ran is not judged by items that passed before it.
    #[test]
    fn a_late_exporter_balances() {
        let exporter = |name: &str, absent, sent| ExporterBooks {
            name: name.to_owned(),
            absent,
            entered: 4,
            sent,
            failed: 4 - sent,
            ..ExporterBooks::default()
        };
        let books = Books {
            received: 10,
            forwarded: 10,
            exporters: vec![exporter("gone", true, 2), exporter("late", true, 4)],
            ..Books::default()
        };
        assert!(books.is_balanced());
        assert!(rows(&books).iter().all(|(_, row)| row.is_balanced()));
        let worst_row = worst_row(&books);
        assert_eq!(
            (worst_row.exported, worst_row.failed, worst_row.missed),
            (2, 2, 6)
        );
    }
}
