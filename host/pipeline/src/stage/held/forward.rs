//! Items on their way out of the stage that held them.

use bytes::Bytes;
use spandrel_wire::{Assembler, Edits};

use super::batch::HeldBatch;
use crate::batch::Batch;
use crate::ledger::{Account, Tally};

/// The size at which a request of released items ends and another begins: large enough to keep
/// batches whole, small enough for the memory of any plugin behind and for backends that take 4
/// MiB.
const FORWARD_BYTES: usize = 3 << 20;
/// The number of items at which a request ends, like [`FORWARD_BYTES`]; the Collector's usual
/// batch.
const FORWARD_ITEMS: usize = 8192;

/// Items on their way out of the table, in requests of limited size.
#[derive(Default)]
pub(super) struct Forward {
    done: Vec<Batch>,
    assembler: Assembler,
    /// The bytes in the assembler; then the tally of its items, and the number of items that no
    /// tally covers yet.
    bytes: usize,
    tally: Option<Tally>,
    unclaimed: u64,
}

impl Forward {
    /// Adds one item of a batch.
    pub(super) fn push(&mut self, batch: &mut HeldBatch, position: usize, edits: Edits<'_>) {
        let (held, tally) = batch.parts();
        // A position that was looked up in this same set is there. If it were not, its item would
        // stay in the tally and be booked as abandoned with it.
        if self.assembler.push(held, position, edits).is_ok() {
            self.bytes += held.span(position).len();
            self.unclaimed += 1;
        }
        if self.bytes >= FORWARD_BYTES || self.assembler.items() >= FORWARD_ITEMS {
            self.claim(tally);
            self.cut();
        }
    }

    /// Takes the tally of the items that were added since the last claim.
    pub(super) fn claim(&mut self, from: &mut Tally) {
        let items = std::mem::take(&mut self.unclaimed);
        if items == 0 {
            return;
        }
        let mut tally = from.split(items);
        tally.transfer(Account::Chain);
        match &mut self.tally {
            Some(all) => all.join(tally),
            none => *none = Some(tally),
        }
    }

    /// Ends the request that is being assembled.
    fn cut(&mut self) {
        self.bytes = 0;
        let (bytes, _) = std::mem::take(&mut self.assembler).finish();
        let batch = self.tally.take().map(|tally| Batch {
            bytes: Bytes::from(bytes),
            tally,
        });
        self.done.extend(batch);
    }

    /// Adds the items of a batch that are still held, unchanged.
    pub(super) fn add_open(&mut self, mut batch: HeldBatch) {
        let open: Vec<usize> = batch.open().collect();
        for position in open {
            self.push(&mut batch, position, Edits::default());
        }
        self.claim(batch.tally());
    }

    /// Returns true if a request is complete.
    pub(super) fn has_request(&self) -> bool {
        !self.done.is_empty()
    }

    pub(super) fn finish(mut self) -> Vec<Batch> {
        self.cut();
        self.done
    }
}
