//! The table of held items: one entry for each input batch, by its ticket.

use std::collections::BTreeMap;

use spandrel_wire::{Edits, HeldItems, Limits};
use tokio::time::Instant;

use super::batch::{HeldBatch, History};
use super::forward::Forward;
use super::offer::HeldOffer;
use super::release::{ReleaseAs, check_words, halves};
use crate::batch::Batch;
use crate::handover::{HeldHandover, Owner};
use crate::ledger::{Column, Reason, Source, Tally};
use crate::plugin::{Emission, Ticket};

/// The items held for one stage on one shard.
#[derive(Debug, Default)]
pub(in crate::stage) struct HeldTable {
    tickets: BTreeMap<Ticket, HeldBatch>,
    items: u64,
    bytes: usize,
    /// The number of batches that nobody owns.
    unowned: usize,
    /// The batches that were taken out to be offered to another instance.
    offer: Option<HeldOffer>,
    /// Items of tickets below this one may have been let go without the plugin's knowledge, so the
    /// plugin may still name them.
    evicted_below: Ticket,
    /// The value of `bytes` that the ledger was last told.
    booked_bytes: u64,
}

/// An emission that was checked against the table, so applying it cannot fail.
#[derive(Debug, Default)]
pub(in crate::stage) struct Settlement {
    /// Ticket, position, outcome, and the item's place in `released`; in the order of the table.
    entries: Vec<(Ticket, usize, ReleaseAs, usize)>,
}

impl HeldTable {
    pub(in crate::stage) fn items(&self) -> u64 {
        self.items
    }

    pub(in crate::stage) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(in crate::stage) fn is_empty(&self) -> bool {
        self.tickets.is_empty()
    }

    /// Returns the number of bytes that the ledger was told before, and the number to tell it now.
    pub(in crate::stage) fn book_bytes(&mut self) -> (u64, u64) {
        let now = self.bytes as u64;
        (std::mem::replace(&mut self.booked_bytes, now), now)
    }

    /// Returns the time when the oldest held batch came in. Looks at each ticket.
    pub(in crate::stage) fn oldest(&self) -> Option<Instant> {
        let batches = self.tickets.values();
        batches.map(|batch| batch.history().since).min()
    }

    /// Adds the held items of one batch; `tally` is in this stage's held account.
    pub(in crate::stage) fn insert(&mut self, ticket: Ticket, held: HeldItems, tally: Tally) {
        self.add(ticket, HeldBatch::new(ticket, held, tally));
    }

    /// Puts back items that were held in another process; `tally` is in this stage's held account.
    pub(in crate::stage) fn put_back(
        &mut self,
        left: &HeldHandover,
        held: HeldItems,
        tally: Tally,
    ) {
        self.add(left.ticket, HeldBatch::from_handover(left, held, tally));
    }

    fn add(&mut self, ticket: Ticket, batch: HeldBatch) {
        self.items += batch.items();
        self.bytes += batch.size();
        self.unowned += usize::from(batch.owner() == Owner::Nobody);
        self.tickets.insert(ticket, batch);
    }

    /// Checks an emission against the items that the plugin holds. Changes nothing.
    pub(in crate::stage) fn check(
        &self,
        emission: &Emission,
        reasons: usize,
        limits: &Limits,
    ) -> Result<Settlement, String> {
        check_words(&emission.released, reasons)?;
        let (pairs, _) = emission.released.as_chunks::<2>();
        let mut entries = Vec::with_capacity(pairs.len());
        for (place, &[ticket, word]) in pairs.iter().enumerate() {
            let (index, outcome) = halves(word);
            let Some(outcome) = ReleaseAs::from_word(outcome, reasons) else {
                continue;
            };
            match self.find(ticket, index) {
                Ok(position) => entries.push((ticket, position, outcome, place)),
                // The host let the item go; the plugin could not know.
                Err(_) if ticket > 0 && ticket < self.evicted_below => {}
                Err(what) => return Err(format!("release {place}: {what}")),
            }
        }
        entries.sort_unstable();
        let twice = entries
            .windows(2)
            .find(|pair| matches!(pair, [a, b] if (a.0, a.1) == (b.0, b.1)));
        if let Some([first, ..]) = twice {
            return Err(format!(
                "release {}: the same item is released twice",
                first.3
            ));
        }
        let edits = Edits {
            words: &emission.edits,
            blob: &emission.blob,
        };
        spandrel_wire::check_item_edits(edits, pairs.len(), limits)
            .map_err(|bad| bad.to_string())?;
        Ok(Settlement { entries })
    }

    /// Returns the position of an item that is held, or the reason why it is not held.
    fn find(&self, ticket: Ticket, index: u32) -> Result<usize, String> {
        let batch = self.tickets.get(&ticket);
        let batch = batch.ok_or_else(|| format!("ticket {ticket} is unknown"))?;
        batch.find(ticket, index)
    }

    /// Adds the records of the items that an emission releases to `source`: the items that the
    /// emission creates may come from them.
    pub(in crate::stage) fn trace_to(&mut self, settlement: &Settlement, source: &mut Source) {
        for entries in settlement.entries.chunk_by(|a, b| a.0 == b.0) {
            let batch = entries.first().map(|entry| self.tickets.get_mut(&entry.0));
            if let Some(batch) = batch.flatten() {
                batch.tally().trace_to(source);
            }
        }
    }

    /// Applies a checked emission: drops the items that the plugin dropped, and returns those that
    /// it forwarded.
    pub(in crate::stage) fn settle(
        &mut self,
        column: Column,
        settlement: &Settlement,
        emission: &Emission,
    ) -> Vec<Batch> {
        let all = Edits {
            words: &emission.edits,
            blob: &emission.blob,
        };
        let ordered = all.ordered();
        let edits = Edits {
            words: &ordered,
            blob: &emission.blob,
        };
        let mut forward = Forward::default();
        for entries in settlement.entries.chunk_by(|a, b| a.0 == b.0) {
            let Some(&(ticket, ..)) = entries.first() else {
                continue;
            };
            let Some(batch) = self.tickets.get_mut(&ticket) else {
                continue;
            };
            let mut dropped = BTreeMap::<Reason, u64>::new();
            for &(_, position, outcome, place) in entries {
                batch.settle(position);
                match outcome {
                    ReleaseAs::Drop(reason) => *dropped.entry(reason).or_default() += 1,
                    ReleaseAs::Forward => {
                        let edits = u32::try_from(place)
                            .map_or_else(|_| Edits::default(), |place| edits.of_item(place));
                        forward.push(batch, position, edits);
                    }
                }
            }
            forward.claim(batch.tally());
            for (reason, items) in dropped {
                batch.tally().drop_items(column, reason, items);
            }
            self.items = self.items.saturating_sub(entries.len() as u64);
            self.shrink(ticket);
        }
        forward.finish()
    }

    /// Lets go of all items of the oldest batches while `over` is true. Returns them unchanged, for
    /// the caller to forward or drop.
    pub(in crate::stage) fn evict(&mut self, over: impl Fn(&Self) -> bool) -> Vec<Batch> {
        let mut forward = Forward::default();
        while over(self) {
            let Some((ticket, batch)) = self.tickets.pop_first() else {
                break;
            };
            self.forget(&batch);
            self.evicted_below = self.evicted_below.max(ticket + 1);
            forward.add_open(batch);
        }
        forward.finish()
    }

    /// Lets go of all items that came in before `since`.
    pub(in crate::stage) fn evict_older(&mut self, since: Instant) -> Vec<Batch> {
        self.evict_all(|_, batch| batch.history().since < since)
    }

    /// Lets go of every batch with an item that no record keeps: either a plugin made the item from
    /// nothing that is recorded, or its record has failed.
    pub(in crate::stage) fn evict_unrecorded(&mut self) -> Vec<Batch> {
        self.evict_all(|_, batch| !batch.is_recorded())
    }

    /// Lets go of these batches. The plugin may still name their items.
    fn evict_all(&mut self, which: impl Fn(Ticket, &HeldBatch) -> bool) -> Vec<Batch> {
        let mut forward = Forward::default();
        for (ticket, batch) in self.take(which) {
            self.evicted_below = self.evicted_below.max(ticket + 1);
            forward.add_open(batch);
        }
        forward.finish()
    }

    /// Takes these batches out of the table.
    fn take(&mut self, which: impl Fn(Ticket, &HeldBatch) -> bool) -> Vec<(Ticket, HeldBatch)> {
        let taken = self
            .tickets
            .extract_if(.., |ticket, batch| which(*ticket, batch));
        let taken: Vec<_> = taken.collect();
        taken.iter().for_each(|(_, batch)| self.forget(batch));
        taken
    }

    /// Takes over the items that another table holds. No ticket may be in both.
    pub(in crate::stage) fn absorb(&mut self, other: Self) {
        self.items += other.items;
        self.bytes += other.bytes;
        self.unowned += other.unowned;
        self.evicted_below = self.evicted_below.max(other.evicted_below);
        self.booked_bytes += other.booked_bytes;
        self.tickets.extend(other.tickets);
    }

    /// Ignores releases of items that are no longer held, for all tickets below this one: the
    /// plugin may know those items from an old state.
    pub(in crate::stage) fn ignore_releases_below(&mut self, ticket: Ticket) {
        self.evicted_below = self.evicted_below.max(ticket);
    }

    /// Returns the ticket below which releases of items that are not held are ignored.
    pub(in crate::stage) fn evicted_below(&self) -> Ticket {
        self.evicted_below
    }

    /// Returns the trace id of each item that is held.
    pub(in crate::stage) fn trace_ids(&self) -> impl Iterator<Item = &[u8]> {
        self.tickets.values().flat_map(HeldBatch::trace_ids)
    }

    /// Returns true if something is held that no instance knows of.
    pub(in crate::stage) fn has_unowned(&self) -> bool {
        self.unowned > 0
    }

    /// Returns the tickets of the batches that no instance knows of.
    pub(in crate::stage) fn unowned(&self) -> impl Iterator<Item = Ticket> {
        let batches = self.tickets.iter();
        let unowned = batches.filter(|(_, batch)| batch.owner() == Owner::Nobody);
        unowned.map(|(ticket, _)| *ticket)
    }

    /// Changes the owner of each batch.
    fn change_owners(&mut self, next: impl Fn(Ticket, Owner) -> Owner) {
        for (ticket, batch) in &mut self.tickets {
            batch.set_owner(next(*ticket, batch.owner()));
        }
        self.unowned = self.unowned().count();
    }

    /// Books that the instance is gone. Nobody owns its items from now on. Those that were offered
    /// to it after another one had held them are let go: they are returned.
    pub(in crate::stage) fn lose_owner(&mut self) -> Vec<Batch> {
        let mut forward = Forward::default();
        for (_, batch) in self.take(|_, batch| batch.owner() == Owner::SecondInstance) {
            forward.add_open(batch);
        }
        self.change_owners(|_, _| Owner::Nobody);
        forward.finish()
    }

    /// Books which batches the next instance knows of, from the state that it took over. The others
    /// may be offered to it once more, even if they were offered before.
    pub(in crate::stage) fn set_known(&mut self, is_known: impl Fn(Ticket) -> bool) {
        self.change_owners(|ticket, owner| match (is_known(ticket), owner) {
            (false, _) => Owner::Nobody,
            (true, Owner::Nobody) => Owner::Instance,
            (true, owner) => owner,
        });
    }

    /// Takes out every batch that was held under a ticket up to this one, and is held under a later
    /// one now.
    pub(in crate::stage) fn take_retagged(&mut self, up_to: Ticket) -> Vec<Batch> {
        let mut forward = Forward::default();
        let is_retagged =
            |ticket, batch: &HeldBatch| batch.history().first <= up_to && ticket > up_to;
        for (_, batch) in self.take(is_retagged) {
            forward.add_open(batch);
        }
        forward.finish()
    }

    /// Takes out the oldest batches that nobody owns, to be offered: up to the size of one request,
    /// or one batch if that is larger.
    pub(in crate::stage) fn begin_offer(&mut self) {
        let mut forward = Forward::default();
        let mut history: Option<History> = None;
        // The iterator stops once enough is taken.
        let is_unowned = |_: &Ticket, batch: &mut HeldBatch| batch.owner() == Owner::Nobody;
        let mut unowned = self.tickets.extract_if(.., is_unowned);
        while !forward.has_request() {
            let Some((_, batch)) = unowned.next() else {
                break;
            };
            history = Some(match history {
                Some(history) => history.join(batch.history()),
                None => batch.history(),
            });
            self.items = self.items.saturating_sub(batch.items());
            self.bytes = self.bytes.saturating_sub(batch.size());
            self.unowned = self.unowned.saturating_sub(1);
            forward.add_open(batch);
        }
        drop(unowned);
        self.offer = history.map(|history| HeldOffer::new(forward.finish(), history));
    }

    /// Returns the batch that is to be offered next.
    pub(in crate::stage) fn offered(&self) -> Option<&Batch> {
        self.offer.as_ref()?.first()
    }

    /// Takes the batch out that was offered, with its history.
    pub(in crate::stage) fn take_offered(&mut self) -> Option<(Batch, History)> {
        self.offer.as_mut()?.take_first()
    }

    /// Ends the offer. Returns the batches that were not taken.
    pub(in crate::stage) fn end_offer(&mut self) -> Vec<Batch> {
        self.offer
            .take()
            .map_or_else(Vec::new, HeldOffer::into_batches)
    }

    /// Books that the items of this batch, if they are held again, have this history and were held
    /// by another instance before.
    pub(in crate::stage) fn set_second_owner(&mut self, ticket: Ticket, history: History) {
        if let Some(batch) = self.tickets.get_mut(&ticket) {
            batch.set_owner(Owner::SecondInstance);
            batch.set_history(history);
        }
    }

    /// Takes out everything that is held, with the tallies that keep it in the books. Leaves the
    /// table empty.
    pub(in crate::stage) fn leave(&mut self) -> (Vec<HeldHandover>, Vec<Tally>) {
        let all = std::mem::take(&mut self.tickets);
        self.items = 0;
        self.bytes = 0;
        self.unowned = 0;
        let batches = all.into_iter();
        batches
            .map(|(ticket, batch)| batch.into_handover(ticket))
            .unzip()
    }

    /// Subtracts a batch that left the table from the sums.
    fn forget(&mut self, batch: &HeldBatch) {
        self.items = self.items.saturating_sub(batch.items());
        self.bytes = self.bytes.saturating_sub(batch.size());
        self.disown(batch.owner());
    }

    /// Takes a batch that left the table out of the number of those that nobody owns.
    fn disown(&mut self, owner: Owner) {
        let nobody = usize::from(owner == Owner::Nobody);
        self.unowned = self.unowned.saturating_sub(nobody);
    }

    /// Frees the settled part of a batch, or the batch if no item of it is held any more.
    fn shrink(&mut self, ticket: Ticket) {
        let Some(batch) = self.tickets.get_mut(&ticket) else {
            return;
        };
        let before = batch.size();
        let is_held = batch.shrink();
        let after = if is_held { batch.size() } else { 0 };
        self.bytes = self.bytes.saturating_sub(before) + after;
        if !is_held && let Some(batch) = self.tickets.remove(&ticket) {
            self.disown(batch.owner());
        }
    }
}
