//! Held items that are carried over a restart.

use bytes::Bytes;
use spandrel_wire::{Assembler, Edits, HeldItems, Limits, Output, Rules, Signal, Verdict};
use tokio::time::Instant;

use super::forward::Forward;
use super::{HeldBatch, HeldTable};
use crate::batch::Batch;
use crate::handover::HeldLeft;
use crate::ledger::Tally;
use crate::plugin::Ticket;

impl HeldTable {
    /// Takes out every batch with an item that no record keeps: either a plugin made the item from
    /// nothing that is recorded, or its record has failed. The plugin may still name it.
    pub(crate) fn take_loose(&mut self) -> Vec<Batch> {
        let mut forward = Forward::default();
        let is_loose = |_: &Ticket, batch: &mut HeldBatch| batch.tally.records().is_none();
        let loose = self.tickets.extract_if(.., is_loose).collect::<Vec<_>>();
        for (ticket, batch) in loose {
            self.evict_one(ticket, batch, &mut forward);
        }
        forward.finish()
    }

    /// Takes out everything that is held, with the tallies that keep it in the books. Leaves the
    /// table empty.
    pub(crate) fn leave(&mut self) -> (Vec<HeldLeft>, Vec<Tally>) {
        let all = std::mem::take(&mut self.tickets);
        self.items = 0;
        self.bytes = 0;
        let (mut left, mut tallies) = (Vec::with_capacity(all.len()), Vec::new());
        for (ticket, batch) in all {
            let records = batch.tally.records().unwrap_or_default();
            let (indices, request) = open(&batch);
            left.push(HeldLeft {
                ticket,
                first: batch.first,
                orphan: batch.orphan,
                offered_again: batch.offered_again,
                age: batch.since.elapsed(),
                written: batch.tally.written(),
                records: records.into_iter().collect(),
                indices,
                request,
            });
            tallies.push(batch.tally);
        }
        (left, tallies)
    }

    /// Puts back items that were held in another process; `tally` is in this stage's held account.
    pub(crate) fn put_back(&mut self, left: &HeldLeft, held: HeldItems, tally: Tally) {
        self.insert(left.ticket, held, tally);
        if let Some(batch) = self.tickets.get_mut(&left.ticket) {
            let now = Instant::now();
            batch.since = now.checked_sub(left.age).unwrap_or(now);
            batch.first = left.first;
            batch.orphan = left.orphan;
            batch.offered_again = left.offered_again;
        }
    }

    /// Returns the ticket below which releases of items that are not held are ignored.
    pub(crate) fn evicted_below(&self) -> Ticket {
        self.evicted_below
    }
}

/// Returns the items of a batch that are still held, and their indices in it.
fn open(batch: &HeldBatch) -> (Vec<u32>, Bytes) {
    let mut assembler = Assembler::new();
    let mut indices = Vec::new();
    let numbers = batch.held.indices().zip(&batch.settled).enumerate();
    for (position, (index, settled)) in numbers {
        let open = !settled;
        if open
            && assembler
                .push(&batch.held, position, Edits::default())
                .is_ok()
        {
            indices.push(index);
        }
    }
    let (request, _) = assembler.finish();
    (indices, Bytes::from(request))
}

impl HeldLeft {
    /// Returns the items as a stage holds them; `None` if the request is not valid, or has other
    /// items.
    pub(crate) fn to_held(&self, limits: &Limits) -> Option<HeldItems> {
        let summary = spandrel_wire::validate(Signal::Traces, &self.request, limits).ok()?;
        let items = summary.items;
        if items == 0 || self.records.is_empty() || self.ticket == 0 {
            return None;
        }
        let rules = Rules {
            items,
            reasons: 0,
            holds: true,
            limits: *limits,
        };
        let verdicts = vec![Verdict::Hold.to_byte(); items];
        let spliced =
            spandrel_wire::splice(&self.request, &verdicts, Edits::default(), &rules).ok()?;
        let mut held = spliced.held.filter(|_| spliced.output == Output::Nothing)?;
        held.renumber(&self.indices).then_some(held)
    }
}
