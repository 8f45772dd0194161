//! The items that a stage's plugin holds: the bytes stay here, the plugin keeps (ticket, index).

mod forward;
mod handover;
mod orphans;

use std::collections::BTreeMap;

use spandrel_wire::{Edits, HeldItems, Limits, Span};
use tokio::time::Instant;

use self::forward::Forward;

use crate::batch::Batch;
use crate::ledger::{Column, Reason, Source, Tally};
use crate::plugin::{Emission, Ticket};

/// The outcome of a released item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum ReleaseAs {
    Forward,
    Drop(Reason),
}

impl ReleaseAs {
    /// Reads the outcome in the upper half of a release (see `wit/v0.1/types.wit`). `None` if the
    /// plugin has no such drop reason.
    fn from_word(word: u32, reasons: usize) -> Option<Self> {
        let code = u8::try_from(word).ok()?;
        match code {
            0 => Some(Self::Forward),
            u8::MAX => Some(Self::Drop(Reason::Undisposed)),
            code if code >= 2 && usize::from(code - 2) < reasons => {
                Some(Self::Drop(Reason::Plugin(code - 2)))
            }
            _ => None,
        }
    }
}

/// Splits a release into index and outcome.
fn halves(word: u64) -> (u32, u32) {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the low half is what is wanted"
    )]
    let low = word as u32;
    (low, (word >> 32) as u32)
}

/// Checks that releases are pairs, and that their outcomes are valid.
pub(super) fn check_words(released: &[u64], reasons: usize) -> Result<(), String> {
    let (pairs, rest) = released.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(format!("released: {} words are not pairs", released.len()));
    }
    for (place, &[_, word]) in pairs.iter().enumerate() {
        let (_, outcome) = halves(word);
        if ReleaseAs::from_word(outcome, reasons).is_none() {
            return Err(format!(
                "release {place}: outcome {outcome} names no drop reason"
            ));
        }
    }
    Ok(())
}

/// The items held for one stage on one shard.
#[derive(Debug, Default)]
pub(crate) struct HeldTable {
    tickets: BTreeMap<Ticket, HeldBatch>,
    items: u64,
    bytes: usize,
    /// Items of tickets below this one may have been let go without the plugin's knowledge, so the
    /// plugin may still name them.
    evicted_below: Ticket,
    /// The value of `bytes` that the ledger was last told.
    pub(crate) booked_bytes: u64,
}

/// The held items of one input batch.
#[derive(Debug)]
struct HeldBatch {
    held: HeldItems,
    /// True at each position of `held` that is already settled.
    settled: Vec<bool>,
    tally: Tally,
    since: Instant,
    /// True if the instance that held the items is gone, and no other instance knows of them yet.
    orphan: bool,
    /// True if the items were already offered to a new instance, after the one that held them
    /// failed.
    offered_again: bool,
    /// The lowest ticket under which any of the items was ever held.
    first: Ticket,
}

/// An emission that was checked against the table, so applying it cannot fail.
#[derive(Debug, Default)]
pub(crate) struct Settlement {
    /// Ticket, position, outcome, and the item's place in `released`; in the order of the table.
    entries: Vec<(Ticket, usize, ReleaseAs, usize)>,
}

impl HeldTable {
    pub(crate) fn items(&self) -> u64 {
        self.items
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.tickets.is_empty()
    }

    /// Returns the time when the oldest held batch came in. Looks at each ticket.
    pub(crate) fn oldest(&self) -> Option<Instant> {
        self.tickets.values().map(|held| held.since).min()
    }

    /// Adds the held items of one batch; `tally` is in this stage's held account.
    pub(crate) fn insert(&mut self, ticket: Ticket, held: HeldItems, tally: Tally) {
        self.items += tally.items();
        self.bytes += held.size();
        let settled = vec![false; held.len()];
        let batch = HeldBatch {
            held,
            settled,
            tally,
            since: Instant::now(),
            orphan: false,
            offered_again: false,
            first: ticket,
        };
        self.tickets.insert(ticket, batch);
    }

    /// Checks an emission against the items that the plugin holds. Changes nothing.
    pub(crate) fn check(
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
        let position = batch.held.position(index);
        let position =
            position.ok_or_else(|| format!("item {index} of ticket {ticket} is not held"))?;
        match batch.settled.get(position) {
            Some(false) => Ok(position),
            _ => Err(format!(
                "item {index} of ticket {ticket} was released before"
            )),
        }
    }

    /// Adds the records of the items that an emission releases to `source`: the items that the
    /// emission creates may come from them.
    pub(crate) fn trace_to(&mut self, settlement: &Settlement, source: &mut Source) {
        for entries in settlement.entries.chunk_by(|a, b| a.0 == b.0) {
            let batch = entries.first().map(|entry| self.tickets.get_mut(&entry.0));
            if let Some(batch) = batch.flatten() {
                batch.tally.trace_to(source);
            }
        }
    }

    /// Applies a checked emission: drops the items that the plugin dropped, and returns those that
    /// it forwarded.
    pub(crate) fn settle(
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
                if let Some(settled) = batch.settled.get_mut(position) {
                    *settled = true;
                }
                match outcome {
                    ReleaseAs::Drop(reason) => *dropped.entry(reason).or_default() += 1,
                    ReleaseAs::Forward => {
                        let edits = u32::try_from(place)
                            .map_or_else(|_| Edits::default(), |place| edits.of_item(place));
                        forward.push(&batch.held, position, edits, &mut batch.tally);
                    }
                }
            }
            forward.claim(&mut batch.tally);
            for (reason, items) in dropped {
                batch.tally.drop_items(column, reason, items);
            }
            self.items = self.items.saturating_sub(entries.len() as u64);
            self.shrink(ticket);
        }
        forward.finish()
    }

    /// Lets go of all items of the oldest batches while `over` is true. Returns them unchanged, for
    /// the caller to forward or drop.
    pub(crate) fn evict(&mut self, over: impl Fn(&Self) -> bool) -> Vec<Batch> {
        let mut forward = Forward::default();
        while over(self) {
            let Some((ticket, batch)) = self.tickets.pop_first() else {
                break;
            };
            self.evict_one(ticket, batch, &mut forward);
        }
        forward.finish()
    }

    /// Lets go of all items that came in before `since`.
    pub(crate) fn evict_older(&mut self, since: Instant) -> Vec<Batch> {
        let mut forward = Forward::default();
        for (ticket, batch) in self
            .tickets
            .extract_if(.., |_, batch| batch.since < since)
            .collect::<Vec<_>>()
        {
            self.evict_one(ticket, batch, &mut forward);
        }
        forward.finish()
    }

    fn evict_one(&mut self, ticket: Ticket, batch: HeldBatch, forward: &mut Forward) {
        self.evicted_below = self.evicted_below.max(ticket + 1);
        self.forget(&batch);
        forward.add_open(batch);
    }

    /// Takes over the items that another table holds. No ticket may be in both.
    pub(crate) fn absorb(&mut self, other: Self) {
        self.items += other.items;
        self.bytes += other.bytes;
        self.evicted_below = self.evicted_below.max(other.evicted_below);
        self.booked_bytes += other.booked_bytes;
        self.tickets.extend(other.tickets);
    }

    /// Ignores releases of items that are no longer held, for all tickets below this one: the
    /// plugin may know those items from an old state.
    pub(crate) fn forgive_below(&mut self, ticket: Ticket) {
        self.evicted_below = self.evicted_below.max(ticket);
    }

    /// Returns the trace id of each item that is held.
    pub(crate) fn trace_ids(&self) -> impl Iterator<Item = &[u8]> {
        let batches = self.tickets.values();
        batches.flat_map(|batch| {
            let open = batch.settled.iter().enumerate();
            open.filter(|(_, settled)| !**settled)
                .map(|(position, _)| Span::new(batch.held.span(position)).trace_id())
        })
    }

    /// Subtracts a batch that left the table from the sums.
    fn forget(&mut self, batch: &HeldBatch) {
        self.items = self.items.saturating_sub(batch.tally.items());
        self.bytes = self.bytes.saturating_sub(batch.held.size());
    }

    /// Frees a batch of which no item is held any more. If less than half of a batch is held, frees
    /// its settled part.
    fn shrink(&mut self, ticket: Ticket) {
        let Some(batch) = self.tickets.get_mut(&ticket) else {
            return;
        };
        let open = batch.settled.iter().filter(|settled| !**settled).count();
        if open == 0 {
            let size = batch.held.size();
            self.bytes = self.bytes.saturating_sub(size);
            self.tickets.remove(&ticket);
        } else if open * 2 < batch.settled.len() {
            let before = batch.held.size();
            let settled = std::mem::take(&mut batch.settled);
            batch
                .held
                .retain(|position| !settled.get(position).copied().unwrap_or(true));
            batch.settled = vec![false; batch.held.len()];
            self.bytes = self.bytes.saturating_sub(before) + batch.held.size();
        }
    }
}
