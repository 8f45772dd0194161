//! A batch on its way through the stages.

use super::Input;
use crate::batch::Batch;
use crate::ledger::Tally;

/// A batch between two stages: what the next one sees, and the items in the books.
#[derive(Debug)]
pub(crate) struct Transit {
    pub(crate) input: Input,
    pub(crate) tally: Tally,
}

impl From<Batch> for Transit {
    fn from(Batch { bytes, tally }: Batch) -> Self {
        Self {
            input: Input::from(bytes),
            tally,
        }
    }
}

impl Transit {
    /// How many items.
    pub(crate) fn items(&self) -> u64 {
        self.tally.items()
    }

    /// The batch as it leaves the chain.
    pub(crate) fn into_batch(self) -> Batch {
        Batch {
            bytes: self.input.whole(),
            tally: self.tally,
        }
    }
}
