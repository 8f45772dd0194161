//! A batch on its way through the stages.

use bytes::Bytes;

use crate::batch::Batch;
use crate::ledger::Tally;
use crate::plugin::Input;

/// A batch between two stages: the input of the next one, and the items in the books.
#[derive(Debug)]
pub(crate) struct StageBatch {
    pub(crate) input: Input,
    pub(crate) tally: Tally,
}

impl From<Batch> for StageBatch {
    fn from(Batch { bytes, tally }: Batch) -> Self {
        Self {
            input: Input::from(bytes),
            tally,
        }
    }
}

impl StageBatch {
    /// Returns the number of items.
    pub(crate) fn items(&self) -> u64 {
        self.tally.items()
    }

    /// Makes a part of this batch, as a whole batch.
    pub(crate) fn part(&self, bytes: Bytes, tally: Tally) -> Self {
        Self {
            input: self.input.part(bytes),
            tally,
        }
    }

    /// Appends another batch to this one.
    pub(crate) fn join(mut self, other: Self) -> Self {
        self.input = self.input.join(&other.input);
        self.tally.join(other.tally);
        self
    }

    /// Returns the batch as it leaves the chain.
    pub(crate) fn into_batch(self) -> Batch {
        Batch {
            bytes: self.input.whole(),
            tally: self.tally,
        }
    }
}
