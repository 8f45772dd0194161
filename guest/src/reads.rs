//! Tracks the parts of spans that a plugin reads, and tells the host, so that the host can send
//! just these parts. If the plugin needs a part that was left out, it is fetched. Plugins do not
//! notice this.

use std::cell::{Cell, RefCell};

use spandrel_wire::{Reads, Span, Traces};

use crate::bindings::spandrel::plugin::types;
use crate::edits::word;

/// The number of whole batches in which reads are noted. By then a plugin has usually seen every
/// kind of span. A later read is noted at no cost, when a projection misses it.
const NOTED: u32 = 32;

/// The reads of one instance, over all batches.
#[derive(Debug, Default)]
pub(crate) struct ReadTracker {
    /// The number of the instance.
    number: u64,
    /// True if reads of the current batch must be noted or may miss something.
    watched: Cell<bool>,
    projected: bool,
    batches: u32,
    noted: RefCell<ReadSet>,
    /// The reads that the host was told about.
    said: Option<ReadSet>,
}

/// A set of reads.
#[derive(Clone, Debug, Default, PartialEq)]
struct ReadSet {
    set: Reads,
    whole: bool,
}

thread_local! {
    static INSTANCES: Cell<u64> = const { Cell::new(0) };
}

impl ReadTracker {
    /// Makes the record of an instance that has read nothing yet.
    pub(crate) fn new() -> Self {
        let number = INSTANCES.get() + 1;
        INSTANCES.set(number);
        Self {
            number,
            ..Self::default()
        }
    }

    /// Prepares for the next batch.
    pub(crate) fn begin(&mut self, projected: bool) {
        self.projected = projected;
        self.batches = self.batches.saturating_add(1);
        let noted = self.noted.get_mut();
        let notes = self.batches <= NOTED && !noted.whole;
        self.watched.set(projected || notes);
    }

    /// Returns true if reads of the current batch must be noted, or may miss something.
    #[inline]
    pub(crate) fn are_watched(&self) -> bool {
        self.watched.get()
    }

    /// Notes a lookup of an attribute. Returns true if it may be missing from the current batch.
    pub(crate) fn attribute(&self, key: &str) -> bool {
        let said = |said: &ReadSet| said.set.keys().iter().any(|said| said == key);
        if self.said.as_ref().is_some_and(said) {
            return false;
        }
        let noted = &mut *self.noted.borrow_mut();
        if noted.set.add_key(key).is_none() {
            noted.whole = true;
        }
        self.projected
    }

    /// Notes a lookup of attributes with these keys. Returns true if any may be missing.
    pub(crate) fn keys(&self, keys: &Keys) -> bool {
        if keys.said_by.get() == Some(self.number) {
            return false;
        }
        let mut may_miss = false;
        for key in keys.as_slice() {
            may_miss |= self.attribute(key);
        }
        let is_said = |said: &ReadSet| {
            let said = said.set.keys();
            keys.as_slice().iter().all(|key| said.contains(key))
        };
        if self.said.as_ref().is_some_and(is_said) {
            keys.said_by.set(Some(self.number));
        }
        may_miss
    }

    /// Notes a read of ids, name, kind, times, status or flags. Returns true if they may be
    /// missing.
    pub(crate) fn fields(&self) -> bool {
        if self.said.as_ref().is_some_and(|said| said.set.fields()) {
            return false;
        }
        self.noted.borrow_mut().set.add_fields();
        self.projected
    }

    /// Notes a read of anything else. Returns true if it may be missing.
    pub(crate) fn whole(&self) -> bool {
        self.noted.borrow_mut().whole = true;
        self.projected
    }

    /// Returns the reads that the host does not know yet.
    pub(crate) fn news(&mut self) -> Option<types::Reads> {
        let noted = self.noted.get_mut();
        if self.said.as_ref() == Some(noted) {
            return None;
        }
        let before = self.said.replace(noted.clone()).unwrap_or_default();
        let is_new = |key: &&String| before.set.keys().binary_search(key).is_err();
        Some(types::Reads {
            fields: noted.set.fields() && !before.set.fields(),
            attributes: noted.set.keys().iter().filter(is_new).cloned().collect(),
            whole: noted.whole && !before.whole,
        })
    }
}

/// The keys of several attributes, to find in one walk with [`Span::select`](crate::Span::select).
/// Make it once, in `configure`.
#[derive(Debug)]
pub struct Keys {
    pub(crate) keys: spandrel_wire::Keys,
    /// The number of the instance that has told the host that it reads all of these keys. While
    /// that instance asks, no attribute can be missing, and the keys need not be checked one by
    /// one.
    said_by: Cell<Option<u64>>,
}

impl Keys {
    /// Makes a set with the keys in this order.
    pub fn new(keys: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            keys: spandrel_wire::Keys::new(keys),
            said_by: Cell::new(None),
        }
    }

    /// Returns the keys, in their order.
    pub fn as_slice(&self) -> &[String] {
        self.keys.as_slice()
    }
}

/// The batch behind a projection.
#[derive(Debug)]
pub(crate) struct WholeBatch {
    bytes: Vec<u8>,
    /// The offset and the length of each span.
    spans: Vec<(u32, u32)>,
}

impl WholeBatch {
    /// Fetches the batch from the host.
    pub(crate) fn fetch() -> Self {
        let bytes = crate::host::batch();
        let start = bytes.as_ptr().addr();
        let spans = Traces::new(&bytes).spans().map(|placed| {
            let span = placed.span.bytes();
            (word(span.as_ptr().addr() - start), word(span.len()))
        });
        Self {
            spans: spans.collect(),
            bytes,
        }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn span(&self, index: u32) -> Span<'_> {
        let place = self.spans.get(index as usize);
        let span = place.and_then(|&(start, len)| {
            let rest = self.bytes.get(start as usize..)?;
            rest.get(..len as usize)
        });
        Span::new(span.unwrap_or_default())
    }
}
