//! A request on its way to a backend, with the batches that it was merged from. If the backend
//! refuses it as a whole, it can be halved again and again, down to the items at fault.

use std::time::SystemTime;

use bytes::{Bytes, BytesMut};
use spandrel_wire::{PartLimits, Signal};

use crate::batch::Batch;
use crate::ledger::{End, Tally};

/// A request on its way to a backend, with the batches that it was merged from.
#[derive(Debug)]
pub(crate) struct Request {
    bytes: Bytes,
    first: Part,
    others: Vec<Part>,
}

/// One of its batches; they are in the order of their bytes.
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
    /// Merges the requests; `None` if there are none. Copies the bytes once, or not at all if there
    /// is only one request.
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

    /// Returns the bytes to send.
    pub(crate) fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Returns the number of items.
    pub(crate) fn items(&self) -> u64 {
        self.tallies().map(Tally::items).sum()
    }

    /// Returns true if all of its items are in an egress log.
    pub(crate) fn is_on_disk(&self) -> bool {
        self.tallies().all(Tally::is_on_disk)
    }

    /// Returns the time at which a log got its items; the latest if there are several.
    pub(crate) fn written(&self) -> Option<SystemTime> {
        self.tallies().filter_map(Tally::written).max()
    }

    /// Turns it into one batch. The batches that it was merged from are forgotten.
    pub(crate) fn into_batch(self) -> Batch {
        let Part { mut tally, .. } = self.first;
        self.others
            .into_iter()
            .for_each(|part| tally.join(part.tally));
        let bytes = self.bytes;
        Batch { bytes, tally }
    }

    /// Books the end of an export.
    pub(crate) fn settle(self, end: End) {
        self.into_batch().tally.settle(end);
    }

    /// Books that all of it is in the exporter's log now.
    pub(crate) fn spill(self) {
        self.into_batch().tally.spill();
    }

    /// Cuts it into halves, of which this request keeps the first. The cut is between two of its
    /// batches; if these are not known (it came as one, was in a log, or was cut before), between
    /// two resources; otherwise between two items, which copies it and may give more than two
    /// parts. Returns the other parts, in order; none if it is one item, or if its resources are
    /// too large to repeat.
    pub(crate) fn halve(&mut self, signal: Signal) -> Vec<Self> {
        let mut rest = self.others.split_off(self.others.len() / 2).into_iter();
        if let Some(first) = rest.next() {
            let sizes = self.others.iter().map(|part| part.size);
            let bytes = self.bytes.split_off(self.first.size + sizes.sum::<usize>());
            let others = rest.collect();
            return vec![Self {
                bytes,
                first,
                others,
            }];
        }
        if let Some(at) = spandrel_wire::halving_point(&self.bytes) {
            let rest = self.bytes.split_off(at);
            let items = spandrel_wire::count(signal, &self.bytes);
            return vec![self.cut_off(items, rest)];
        }
        let items = usize::try_from(self.items()).unwrap_or(usize::MAX);
        let most = PartLimits {
            items: items.div_ceil(2),
            bytes: usize::MAX,
        };
        let parts = spandrel_wire::cut(signal, &self.bytes, most);
        let mut parts = parts.unwrap_or_default().into_iter();
        // One item has no halves.
        let Some(first) = parts.next().filter(|_| parts.len() > 0) else {
            return Vec::new();
        };
        let (mut items, mut halves) = (first.items, Vec::with_capacity(parts.len()));
        self.bytes = Bytes::from(first.bytes);
        for part in parts {
            let last = halves.last_mut().unwrap_or(&mut *self);
            let half = last.cut_off(items, Bytes::from(part.bytes));
            halves.push(half);
            items = part.items;
        }
        halves
    }

    /// Keeps `items` items, which are those in its bytes now, and returns the others as a request
    /// with the given bytes.
    fn cut_off(&mut self, items: usize, bytes: Bytes) -> Self {
        self.first.size = self.bytes.len();
        let items = u64::try_from(items).unwrap_or(u64::MAX);
        let first = self.first.tally.split(items);
        let tally = std::mem::replace(&mut self.first.tally, first);
        Self::from(Batch { bytes, tally })
    }

    fn tallies(&self) -> impl Iterator<Item = &Tally> {
        let all = std::iter::once(&self.first).chain(&self.others);
        all.map(|part| &part.tally)
    }
}
