//! Held items while the instances that hold them change.

use tokio::time::Instant;

use super::forward::Forward;
use super::{HeldBatch, HeldTable};
use crate::batch::Batch;
use crate::plugin::Ticket;

impl HeldTable {
    /// Marks the items of this batch as held earlier by another instance: since that time, and
    /// under that ticket.
    pub(crate) fn mark_offered(&mut self, ticket: Ticket, (since, first): (Instant, Ticket)) {
        if let Some(batch) = self.tickets.get_mut(&ticket) {
            batch.offered_again = true;
            batch.since = since;
            batch.first = first;
        }
    }

    /// Takes out every batch that was already offered to a second instance.
    pub(crate) fn take_offered(&mut self) -> Vec<Batch> {
        self.take(|_, batch| batch.offered_again)
    }

    /// Takes out every batch that was held under a ticket up to this one, and is held under a later
    /// one now.
    pub(crate) fn take_renamed(&mut self, up_to: Ticket) -> Vec<Batch> {
        self.take(|ticket, batch| batch.first <= up_to && ticket > up_to)
    }

    fn take(&mut self, which: impl Fn(Ticket, &HeldBatch) -> bool) -> Vec<Batch> {
        let mut forward = Forward::default();
        let taken = self
            .tickets
            .extract_if(.., |ticket, batch| which(*ticket, batch));
        for (_, batch) in taken.collect::<Vec<_>>() {
            self.forget(&batch);
            forward.add_open(batch);
        }
        forward.finish()
    }

    /// Marks the batches that `which` selects as orphans; they may be offered once more, even if
    /// they were offered before. The state that the next instance took over names all others.
    pub(crate) fn orphan(&mut self, which: impl Fn(Ticket) -> bool) {
        for (ticket, batch) in &mut self.tickets {
            batch.orphan = which(*ticket);
            if batch.orphan {
                batch.offered_again = false;
            }
        }
    }

    /// Returns the tickets of the batches that no instance knows of.
    pub(crate) fn orphans(&self) -> impl Iterator<Item = Ticket> {
        let orphans = self.tickets.iter().filter(|(_, batch)| batch.orphan);
        orphans.map(|(ticket, _)| *ticket)
    }

    /// Marks everything as orphaned: the instance that held it is gone.
    pub(crate) fn bereave(&mut self) {
        for batch in self.tickets.values_mut() {
            batch.orphan = true;
        }
    }

    /// Takes out the oldest orphans, up to the size of one request (or one batch, if that is
    /// larger), with the time when the oldest came in, and its ticket.
    pub(crate) fn take_orphans(&mut self) -> Option<(Vec<Batch>, (Instant, Ticket))> {
        let mut forward = Forward::default();
        let mut oldest: Option<(Instant, Ticket)> = None;
        // The iterator stops once enough is taken.
        let mut orphans = self.tickets.extract_if(.., |_, batch| batch.orphan);
        while forward.done.is_empty() {
            let Some((_, batch)) = orphans.next() else {
                break;
            };
            let (since, first) = oldest.unwrap_or((batch.since, batch.first));
            oldest = Some((since.min(batch.since), first.min(batch.first)));
            self.items = self.items.saturating_sub(batch.tally.items());
            self.bytes = self.bytes.saturating_sub(batch.held.size());
            forward.add_open(batch);
        }
        oldest.map(|oldest| (forward.finish(), oldest))
    }

    /// Returns true if something is held that no instance knows of.
    pub(crate) fn has_orphans(&self) -> bool {
        self.orphans().next().is_some()
    }
}
