//! Held items that are offered to another instance as batches.

use std::collections::VecDeque;

use super::batch::History;
use crate::batch::Batch;

/// The batches that are offered now. They are in the table and not in the call, so that they go on
/// if the call is cut off.
#[derive(Debug)]
pub(super) struct HeldOffer {
    batches: VecDeque<Batch>,
    /// The history of all of them: a request has items of several batches.
    history: History,
}

impl HeldOffer {
    pub(super) fn new(batches: Vec<Batch>, history: History) -> Self {
        Self {
            batches: batches.into(),
            history,
        }
    }

    /// Returns the next batch.
    pub(super) fn first(&self) -> Option<&Batch> {
        self.batches.front()
    }

    /// Takes the next batch out, with its history.
    pub(super) fn take_first(&mut self) -> Option<(Batch, History)> {
        let batch = self.batches.pop_front()?;
        Some((batch, self.history))
    }

    /// Returns the batches that were not taken.
    pub(super) fn into_batches(self) -> Vec<Batch> {
        self.batches.into()
    }
}
