//! A row of the ledger, as it is logged at the end of a run: the places of all items of a pipeline,
//! as one of its exporters sees them.
//!
//! Items that an exporter gave up, and items for which there was no room, count as `dropped`;
//! `failed` and `overflowed` say how many of each there are. An exporter that came or went while
//! the pipeline ran has `missed` the items that passed without it.

use super::books::Books;
use super::exporter::ExporterBooks;
use super::figure::{Figure, Side, Unit, balances};

/// Calls a macro with the given tokens in braces and the columns of a [`LedgerRow`]. This is the
/// only place where they are spelled.
///
/// Each column has its name; `always` or `some` (a column that is left out of the log while it is
/// zero: it applies only to journals, or to exporters that came or went); its side of the balance;
/// its unit; its value; and its meaning.
#[macro_export]
macro_rules! with_ledger_columns {
    ($callback:ident $tokens:tt) => {
        $callback! { $tokens
            received: always, Into, Items, |books, _| books.received,
                "Items that came in with valid requests.";
            created: always, Into, Items, |books, _| books.created,
                "Items made by plugins.";
            refused: always, OutOf, Items, |books, _| books.refused,
                "Items refused to their sender.";
            dropped: always, OutOf, Items,
                |books, exporter| books.dropped()
                    + exporter.given_up()
                    + books.overflowed.total()
                    + exporter.overflowed,
                "Items dropped with a reason, and those in `failed` and in `overflowed`.";
            failed: always, Aside, Items, |_, exporter| exporter.given_up(),
                "Items that the exporter gave up.";
            overflowed: some, Aside, Items,
                |books, exporter| books.overflowed.total() + exporter.overflowed,
                "Items for which there was no room.";
            exported: always, OutOf, Items, |_, exporter| exporter.sent,
                "Items that the backend confirmed.";
            abandoned: always, OutOf, Items, |books, exporter| books.abandoned + exporter.abandoned,
                "Items given up at the deadline of the drain.";
            missed: some, OutOf, Items, |books, exporter| books.missed(exporter),
                "Items that passed while the exporter was absent.";
            held: always, Inside, Items, |books, _| books.held(),
                "Items that plugins hold.";
            queued: always, Inside, Items,
                |books, exporter| books.in_flight() + exporter.queued,
                "Items on their way or in a queue.";
            // Items that went back to the journal and came again are in both counts.
            replayed: some, Into, Items, |books, _| books.replayed.saturating_sub(books.returned),
                "Items that came from the journal of an earlier process.";
            recovered: some, Into, Items, |_, exporter| exporter.recovered,
                "Items that waited on disk for this exporter at the start.";
            quarantined: some, OutOf, Items, |books, _| books.quarantined,
                "Items of batches that failed every time.";
            damaged: some, OutOf, Items, |books, _| books.damaged,
                "Items damaged in the journal.";
            unknown_losses: some, Aside, Records, |books, _| books.unknown_losses,
                "Damaged records and files of the journal for which nobody knows how many items are lost.";
            journaled: some, OutOf, Items,
                |books, exporter| books.journaled.saturating_sub(books.returned) + exporter.journaled,
                "Items that stay in the journal, to be processed at the next start.";
            on_disk: some, OutOf, Items, |_, exporter| exporter.on_disk,
                "Items that stay on disk for this exporter.";
        }
    };
}

macro_rules! define {
    ({} $($name:ident: $shown:ident, $side:ident, $unit:ident, $value:expr, $help:literal;)*) => {
        /// The places of all items of a pipeline, as one of its exporters sees them.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct LedgerRow {
            $(#[doc = $help] pub $name: u64,)*
        }

        impl LedgerRow {
            /// Makes the row of these books for one of their exporters.
            pub fn new(books: &Books, exporter: &ExporterBooks) -> Self {
                $(let $name: fn(&Books, &ExporterBooks) -> u64 = $value;)*
                Self {
                    $($name: $name(books, exporter),)*
                }
            }

            /// Returns all columns, in order.
            pub fn columns(&self) -> Vec<Figure> {
                vec![$(
                    Figure::new(stringify!($name), self.$name, Side::$side, None, $help)
                        .unit(Unit::$unit),
                )*]
            }

            /// Returns true if every item is accounted for.
            pub fn is_balanced(&self) -> bool {
                balances(&self.columns())
            }

            /// Adds another row. The sum of two pipelines' rows balances if both rows do.
            pub fn add(&mut self, other: &Self) {
                $(self.$name += other.$name;)*
            }
        }
    };
}

with_ledger_columns!(define {});
