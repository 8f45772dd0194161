//! A request on its way to a backend, with the batches that it was merged from. What the backend
//! refuses as a whole can be halved again, down to what is at fault.

use std::time::SystemTime;

use bytes::{Bytes, BytesMut};
use spandrel_wire::Signal;

use crate::batch::Batch;
use crate::ledger::{End, Tally};

/// See the module.
#[derive(Debug)]
pub(crate) struct Request {
    bytes: Bytes,
    first: Part,
    others: Vec<Part>,
}

/// One of the batches, in the order of their bytes.
#[derive(Debug)]
struct Part {
    size: usize,
    tally: Tally,
}

impl From<Batch> for Request {
    fn from(Batch { bytes, tally }: Batch) -> Self {
        let size = bytes.len();
        Self {
            bytes,
            first: Part { size, tally },
            others: Vec::new(),
        }
    }
}

impl Request {
    /// These as one; none of none. Bytes are copied once, and not when there is only one.
    pub(crate) fn merge(requests: Vec<Self>) -> Option<Self> {
        let size = requests.iter().map(|request| request.bytes.len()).sum();
        let mut requests = requests.into_iter();
        let mut all = requests.next()?;
        if requests.len() == 0 {
            return Some(all);
        }
        // The top field of every OTLP request is repeated: concatenation merges.
        let mut bytes = BytesMut::with_capacity(size);
        bytes.extend_from_slice(&all.bytes);
        for request in requests {
            bytes.extend_from_slice(&request.bytes);
            all.others.push(request.first);
            all.others.extend(request.others);
        }
        all.bytes = bytes.freeze();
        Some(all)
    }

    /// What is sent.
    pub(crate) fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// How many items.
    pub(crate) fn items(&self) -> u64 {
        self.tallies().map(Tally::items).sum()
    }

    /// Whether all of them are in an egress log.
    pub(crate) fn is_on_disk(&self) -> bool {
        self.tallies().all(Tally::is_on_disk)
    }

    /// Since when a log has them, the newest of several.
    pub(crate) fn written(&self) -> Option<SystemTime> {
        self.tallies().filter_map(Tally::written).max()
    }

    /// Forgets what it was merged from.
    pub(crate) fn into_batch(self) -> Batch {
        let Part { mut tally, .. } = self.first;
        self.others
            .into_iter()
            .for_each(|part| tally.join(part.tally));
        let bytes = self.bytes;
        Batch { bytes, tally }
    }

    /// The end of an export.
    pub(crate) fn settle(self, end: End) {
        self.into_batch().tally.settle(end);
    }

    /// All of it is in the exporter's log now.
    pub(crate) fn spill(self) {
        self.into_batch().tally.spill();
    }

    /// Cuts off its second half, between two of its batches. Where they are not known any more (it was
    /// in a log, or cut before), between two resources, which are never of two batches. Nothing is
    /// copied. None when it came as one batch, or is one resource; nor when a stage held it of several,
    /// and nothing waits for those (no journal, an OK from the queue), so that they are not known.
    pub(crate) fn halve(&mut self, signal: Signal) -> Option<Self> {
        let mut rest = self.others.split_off(self.others.len() / 2).into_iter();
        if let Some(first) = rest.next() {
            let sizes = self.others.iter().map(|part| part.size);
            let bytes = self.bytes.split_off(self.first.size + sizes.sum::<usize>());
            let others = rest.collect();
            return Some(Self {
                bytes,
                first,
                others,
            });
        }
        let at = spandrel_wire::middle(&self.bytes).filter(|_| self.first.tally.is_of_many())?;
        let bytes = self.bytes.split_off(at);
        self.first.size = at;
        let items = spandrel_wire::count(signal, &self.bytes);
        let items = u64::try_from(items).unwrap_or(u64::MAX);
        let first = self.first.tally.split(items);
        let tally = std::mem::replace(&mut self.first.tally, first);
        Some(Self::from(Batch { bytes, tally }))
    }

    fn tallies(&self) -> impl Iterator<Item = &Tally> {
        let all = std::iter::once(&self.first).chain(&self.others);
        all.map(|part| &part.tally)
    }
}
