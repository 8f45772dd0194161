//! The items that are held of one input batch.

use bytes::Bytes;
use spandrel_wire::{Assembler, Edits, HeldItems, Span};
use tokio::time::Instant;

use crate::handover::{HeldHandover, Owner};
use crate::ledger::Tally;
use crate::plugin::Ticket;

/// The held items of one input batch.
#[derive(Debug)]
pub(super) struct HeldBatch {
    held: HeldItems,
    /// True at each position of `held` that is already settled.
    settled: Vec<bool>,
    tally: Tally,
    history: History,
    owner: Owner,
}

/// The time and the ticket since which items are held. Items keep it when they are offered to
/// another instance, and held under another ticket.
#[derive(Clone, Copy, Debug)]
pub(in crate::stage) struct History {
    /// The time when the oldest of the items came in.
    pub(super) since: Instant,
    /// The lowest ticket under which any of the items was ever held.
    pub(super) first: Ticket,
}

impl History {
    /// Returns the history of items that belong together from now on.
    pub(super) fn join(self, other: Self) -> Self {
        Self {
            since: self.since.min(other.since),
            first: self.first.min(other.first),
        }
    }
}

impl HeldBatch {
    /// Makes a batch that the instance holds from now on; `tally` is in the stage's held account.
    pub(super) fn new(ticket: Ticket, held: HeldItems, tally: Tally) -> Self {
        Self {
            settled: vec![false; held.len()],
            held,
            tally,
            history: History {
                since: Instant::now(),
                first: ticket,
            },
            owner: Owner::Instance,
        }
    }

    /// Makes a batch that was held in another process.
    pub(super) fn from_handover(left: &HeldHandover, held: HeldItems, tally: Tally) -> Self {
        let now = Instant::now();
        Self {
            history: History {
                since: now.checked_sub(left.age).unwrap_or(now),
                first: left.first,
            },
            owner: left.owner,
            ..Self::new(left.ticket, held, tally)
        }
    }

    /// Leaves the batch to the next process, with the tally that keeps its items in the books.
    pub(super) fn into_handover(self, ticket: Ticket) -> (HeldHandover, Tally) {
        let records = self.tally.records().unwrap_or_default();
        let (indices, request) = self.open_items();
        let left = HeldHandover {
            ticket,
            first: self.history.first,
            owner: self.owner,
            age: self.history.since.elapsed(),
            written: self.tally.written(),
            records: records.into_iter().collect(),
            indices,
            request,
        };
        (left, self.tally)
    }

    /// Returns the items that are still held, and their indices in the batch.
    fn open_items(&self) -> (Vec<u32>, Bytes) {
        let mut assembler = Assembler::new();
        let mut indices = Vec::new();
        let numbers = self.held.indices().zip(&self.settled).enumerate();
        for (position, (index, settled)) in numbers {
            let open = !settled;
            if open
                && assembler
                    .push(&self.held, position, Edits::default())
                    .is_ok()
            {
                indices.push(index);
            }
        }
        let (request, _) = assembler.finish();
        (indices, Bytes::from(request))
    }

    pub(super) fn owner(&self) -> Owner {
        self.owner
    }

    pub(super) fn set_owner(&mut self, owner: Owner) {
        self.owner = owner;
    }

    pub(super) fn history(&self) -> History {
        self.history
    }

    pub(super) fn set_history(&mut self, history: History) {
        self.history = history;
    }

    /// Returns the number of items that are still held.
    pub(super) fn items(&self) -> u64 {
        self.tally.items()
    }

    /// Returns the number of bytes that it takes.
    pub(super) fn size(&self) -> usize {
        self.held.size()
    }

    /// Returns its items and their tally, for items to be taken out.
    pub(super) fn parts(&mut self) -> (&HeldItems, &mut Tally) {
        (&self.held, &mut self.tally)
    }

    pub(super) fn tally(&mut self) -> &mut Tally {
        &mut self.tally
    }

    /// Returns true if a record of the journal keeps each of its items.
    pub(super) fn is_recorded(&self) -> bool {
        self.tally.records().is_some()
    }

    /// Returns the position of an item that is held; the error says why it is not.
    pub(super) fn find(&self, ticket: Ticket, index: u32) -> Result<usize, String> {
        let position = self.held.position(index);
        let position =
            position.ok_or_else(|| format!("item {index} of ticket {ticket} is not held"))?;
        match self.settled.get(position) {
            Some(false) => Ok(position),
            _ => Err(format!(
                "item {index} of ticket {ticket} was released before"
            )),
        }
    }

    /// Marks the item at this position as settled.
    pub(super) fn settle(&mut self, position: usize) {
        if let Some(settled) = self.settled.get_mut(position) {
            *settled = true;
        }
    }

    /// Returns the positions of the items that are still held.
    pub(super) fn open(&self) -> impl Iterator<Item = usize> {
        let settled = self.settled.iter().enumerate();
        settled.filter_map(|(position, settled)| (!settled).then_some(position))
    }

    /// Returns the trace id of each item that is still held.
    pub(super) fn trace_ids(&self) -> impl Iterator<Item = &[u8]> {
        self.open()
            .map(|position| Span::new(self.held.span(position)).trace_id())
    }

    /// Frees the settled part if less than half of the batch is still held. Returns false if
    /// nothing of it is.
    pub(super) fn shrink(&mut self) -> bool {
        let open = self.open().count();
        if open > 0 && open * 2 < self.settled.len() {
            let settled = std::mem::take(&mut self.settled);
            self.held
                .retain(|position| !settled.get(position).copied().unwrap_or(true));
            self.settled = vec![false; self.held.len()];
        }
        open > 0
    }
}
