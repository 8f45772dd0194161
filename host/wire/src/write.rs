//! Writes protobuf and OTLP: fields, messages whose length is known only at their end, and requests
//! item by item.

use alloc::vec::Vec;

pub(crate) mod fields;
pub(crate) mod group;
pub(crate) mod nested;
pub(crate) mod values;

/// The request that is left after some of its items were removed or changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// The bytes that came: nothing was removed or changed.
    Unchanged,
    /// No request: nothing is left.
    Nothing,
    /// This request.
    Request(Vec<u8>),
}
