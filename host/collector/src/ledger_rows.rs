//! The final state of the ledger, in rows that balance: one row for each pipeline and exporter.
//!
//! `received + created = refused + dropped + exported + abandoned + missed + held + queued`. Items
//! that an exporter gave up count as `dropped`; `failed` says how many they are. `overflowed` says
//! how many items were dropped because there was no room for them. Journals add
//! `replayed + recovered` on the left, and `journaled + on_disk + quarantined + damaged` on the
//! right. An exporter that came or went while the pipeline ran has `missed` the items that passed
//! without it.

use spandrel_pipeline::ledger::{Books, LedgerRow};
use spandrel_pipeline::with_ledger_columns;

/// Returns a row for each exporter, by its name.
pub(crate) fn rows(books: &Books) -> Vec<(&str, LedgerRow)> {
    let exporters = books.exporters.iter();
    exporters
        .map(|exporter| (exporter.name.as_str(), LedgerRow::new(books, exporter)))
        .collect()
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

/// Returns the number: such fields are always logged.
pub(crate) fn always(items: u64) -> u64 {
    items
}

/// Logs the columns of a row, between other fields. The names of a line's fields are fixed when it
/// is compiled, so it takes a macro to get them from the ledger.
macro_rules! log_columns {
    ({ $row:ident, [$($before:tt)*], [$($after:tt)*] }
     $($name:ident: $shown:ident, $side:ident, $unit:ident, $value:expr, $help:literal;)*) => {
        tracing::info!($($before)* $($name = $shown($row.$name),)* $($after)*)
    };
}
pub(crate) use log_columns;

/// Logs the row of one exporter.
pub(crate) fn log_row(pipeline: &str, exporter: &str, row: &LedgerRow) {
    with_ledger_columns!(log_columns {
        row,
        [pipeline, exporter,],
        [balanced = row.is_balanced(), "ledger"]
    });
}

#[cfg(test)]
mod tests {
    use spandrel_pipeline::ledger::{ExporterBooks, Overflow};

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
            overflowed: Overflow {
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
