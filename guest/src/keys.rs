//! A set of keys that a plugin looks up together.

use std::cell::Cell;

/// The keys of several attributes, to find in one walk with [`Span::select`](crate::Span::select).
/// Make it once, in `configure`.
#[derive(Debug)]
pub struct Keys {
    pub(crate) keys: spandrel_wire::Keys,
    /// The number of the instance that has told the host that it reads all of these keys. While
    /// that instance asks, no attribute can be missing, and the keys need not be checked one by
    /// one.
    pub(crate) said_by: Cell<Option<u64>>,
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
