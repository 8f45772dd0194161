//! Removes some fields from a message.

use alloc::vec::Vec;

use crate::field::Fields;

/// Removes fields from a valid message. `keeps` is called for each field in order, with its number
/// and its content (empty if it is a number). The fields that it keeps stay as they stand, unknown
/// fields included. Nothing is copied before the first field that is removed.
pub fn retain_fields(message: &mut Vec<u8>, mut keeps: impl FnMut(u32, &[u8]) -> bool) {
    let mut left = Vec::new();
    let mut at = 0;
    let mut goes = false;
    for field in Fields::new(message) {
        let start = at;
        at += field.len();
        if keeps(field.number, field.bytes()) {
            if goes {
                left.extend_from_slice(field.raw());
            }
        } else if !goes {
            goes = true;
            left.extend_from_slice(message.get(..start).unwrap_or_default());
        }
    }
    if goes {
        *message = left;
    }
}
