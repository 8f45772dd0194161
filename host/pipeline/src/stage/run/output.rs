//! The output of a stage for one batch.

use super::batch::StageBatch;
use crate::batch::Batch;
use crate::refused::BatchRefusal;

/// The owner of a batch's items while it is in the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BatchOwner {
    /// A sender waits for the answer: the batch can still be refused.
    Sender,
    /// The batch was accepted earlier, or made by a plugin.
    Accepted,
}

/// The output of a stage.
#[derive(Debug, Default)]
pub(crate) struct StageOutput {
    /// The batch that went in, without the items that were dropped or held.
    pub(crate) kept: Option<StageBatch>,
    /// Batches that were released, created or recovered beside it. They were accepted before.
    pub(crate) emitted: Vec<Batch>,
    /// The reason why the batch was refused.
    pub(crate) refused: Option<BatchRefusal>,
}

impl StageOutput {
    /// Returns the number of items in `emitted`.
    pub(super) fn emitted_items(&self) -> u64 {
        self.emitted.iter().map(Batch::items).sum()
    }

    /// Returns the number of items that leave the stage.
    pub(super) fn items(&self) -> u64 {
        self.kept.as_ref().map_or(0, StageBatch::items) + self.emitted_items()
    }
}
