//! Keys that a plugin looks for together.

use std::cell::Cell;

/// The keys of several attributes, to be looked for in one walk: [`Span::select`](crate::Span::select). Make
/// it once, in `configure`.
#[derive(Debug)]
pub struct Keys {
    pub(crate) keys: spandrel_wire::Keys,
    /// The instance whose host knows that all of these are read. While it is the one that asks, none of
    /// them can be missing, and nobody needs to look at each key to know that.
    pub(crate) said_by: Cell<Option<u64>>,
}

impl Keys {
    /// The keys in this order.
    pub fn new(keys: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            keys: spandrel_wire::Keys::new(keys),
            said_by: Cell::new(None),
        }
    }

    /// The keys, in their order.
    pub fn as_slice(&self) -> &[String] {
        self.keys.as_slice()
    }
}
