//! A batch: one valid serialized OTLP request, and its items in the books.

use bytes::Bytes;

use crate::ledger::Tally;

/// One valid serialized OTLP request of one signal, with the tally of its items.
#[derive(Debug)]
pub(crate) struct Batch {
    /// The request.
    pub bytes: Bytes,
    /// Its items.
    pub tally: Tally,
}

impl Batch {
    /// Returns the number of items.
    pub(crate) fn items(&self) -> u64 {
        self.tally.items()
    }
}
