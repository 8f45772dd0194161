//! The answers to exports.

use alloc::string::String;
use alloc::vec::Vec;

use crate::read::field::{Field, Fields, Payload};
use crate::write::fields::{write_text, write_varint_field};
use crate::write::nested::write_nested;

/// The names of gRPC's status codes, by their numbers.
pub const GRPC_CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// The field of a response that says which items were not accepted, and the fields inside of it.
/// They have the same numbers in the responses of all signals.
const PARTIAL_SUCCESS: u32 = 1;
const REJECTED: u32 = 1;
const MESSAGE: u32 = 2;

/// The items of a request that were rejected although the request was accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartialSuccess {
    /// The number of rejected items.
    pub rejected: u64,
    /// The reason, or a remark if no item was rejected.
    pub message: String,
}

impl PartialSuccess {
    /// Returns the response that says so.
    pub fn encode(&self) -> Vec<u8> {
        let mut response = Vec::new();
        write_nested(&mut response, PARTIAL_SUCCESS, |partial| {
            write_varint_field(partial, REJECTED, self.rejected);
            write_text(partial, MESSAGE, &self.message);
        });
        response
    }

    /// Reads a response. If all items were accepted, nothing is rejected and there is no message.
    /// Returns `None` if the bytes are not a response.
    pub fn decode(response: &[u8]) -> Option<Self> {
        let mut partial = Self::default();
        for_each(response, |field| {
            if field.number == PARTIAL_SUCCESS {
                return for_each(content(field)?, |field| partial.set(field));
            }
            Some(())
        })?;
        Some(partial)
    }

    fn set(&mut self, field: Field<'_>) -> Option<()> {
        match (field.number, field.payload) {
            (REJECTED, Payload::Varint(rejected)) => {
                // The number is signed on the wire. There are no negative counts.
                let rejected = rejected.cast_signed();
                self.rejected = u64::try_from(rejected).unwrap_or(0);
            }
            (MESSAGE, _) => self.message = core::str::from_utf8(content(field)?).ok()?.into(),
            (REJECTED, _) => return None,
            _ => {}
        }
        Some(())
    }
}

fn content(field: Field<'_>) -> Option<&[u8]> {
    match field.payload {
        Payload::Len(bytes) => Some(bytes),
        Payload::Varint(_) | Payload::Fixed64(_) | Payload::Fixed32(_) | Payload::Group => None,
    }
}

/// Shows each field of a message to `see`. Returns `None` if the message is malformed, or if `see`
/// does.
fn for_each<'a>(message: &'a [u8], mut see: impl FnMut(Field<'a>) -> Option<()>) -> Option<()> {
    let mut read = 0;
    for field in Fields::new(message) {
        read += field.len();
        see(field)?;
    }
    (read == message.len()).then_some(())
}
