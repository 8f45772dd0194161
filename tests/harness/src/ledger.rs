//! The ledger that the collector prints in its last lines, with the columns of the program's table.

use anyhow::{Result, ensure};
use spandrel_pipeline::ledger::Side;
use spandrel_pipeline::with_ledger_columns;

use crate::log::Line;

macro_rules! define {
    ({} $($name:ident: $shown:ident, $side:ident, $unit:ident, $value:expr, $help:literal;)*) => {
        /// The counts of all items that reached the collector, by their fate.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Ledger {
            $(#[doc = $help] pub $name: u64,)*
        }

        impl Ledger {
            /// Reads it from its log line. Returns `None` if one of the counts that each ledger has
            /// is missing. The other counts are zero if they are missing.
            pub fn read(line: &Line) -> Option<Self> {
                Some(Self {
                    $($name: $shown(line.count(stringify!($name)))?,)*
                })
            }

            /// Adds the counts of another ledger.
            pub fn add(&mut self, other: &Self) {
                $(self.$name += other.$name;)*
            }

            /// Checks that everything is accounted for and nothing is left inside.
            ///
            /// # Errors
            /// Returns an error if that is not so; the message shows the ledger.
            pub fn check(&self) -> Result<()> {
                let counts = [$((Side::$side, self.$name),)*];
                let sum = |side| -> u64 {
                    let of_side = counts.iter().filter(|(of, _)| *of == side);
                    of_side.map(|(_, items)| items).sum()
                };
                let left = sum(Side::Inside);
                ensure!(left == 0, "something is left inside: {self:?}");
                let balances = sum(Side::Into) == sum(Side::OutOf);
                ensure!(balances, "the ledger does not balance: {self:?}");
                Ok(())
            }
        }
    };
}

with_ledger_columns!(define {});

/// A count that each ledger has.
fn always(count: Option<u64>) -> Option<u64> {
    count
}

/// A count that is left out while it is zero.
fn some(count: Option<u64>) -> Option<u64> {
    Some(count.unwrap_or_default())
}
