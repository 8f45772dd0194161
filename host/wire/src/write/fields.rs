//! Writes and removes fields of a message.
//!
//! The functions that write append to the end of a `Vec<u8>`. Fields are written as they are given,
//! default values included.

use alloc::vec::Vec;

use crate::read::field::Fields;

/// Writes a varint.
#[inline]
pub fn write_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

/// Returns the bytes that a varint takes.
#[inline]
pub(crate) fn varint_len(value: usize) -> usize {
    let bits = usize::BITS - (value | 1).leading_zeros();
    bits.div_ceil(7) as usize
}

/// Writes the key of a field of variable length and that length. The content must follow.
#[inline]
pub fn write_key(out: &mut Vec<u8>, field: u32, len: usize) {
    write_varint(out, u64::from(field) << 3 | 2);
    write_varint(out, len as u64);
}

/// Writes a bytes or message field.
#[inline]
pub fn write_bytes(out: &mut Vec<u8>, field: u32, bytes: &[u8]) {
    write_key(out, field, bytes.len());
    out.extend_from_slice(bytes);
}

/// Writes a string field.
#[inline]
pub fn write_text(out: &mut Vec<u8>, field: u32, text: &str) {
    write_bytes(out, field, text.as_bytes());
}

/// Writes a field of one of the integer types that are varints, or of an enum.
#[inline]
pub fn write_varint_field(out: &mut Vec<u8>, field: u32, value: u64) {
    write_varint(out, u64::from(field) << 3);
    write_varint(out, value);
}

/// Writes a `fixed64` field.
#[inline]
pub fn write_fixed64(out: &mut Vec<u8>, field: u32, value: u64) {
    write_varint(out, u64::from(field) << 3 | 1);
    out.extend_from_slice(&value.to_le_bytes());
}

/// Writes a `double` field.
#[inline]
pub fn write_double(out: &mut Vec<u8>, field: u32, value: f64) {
    write_fixed64(out, field, value.to_bits());
}

/// Writes a `fixed32` field.
#[inline]
pub fn write_fixed32(out: &mut Vec<u8>, field: u32, value: u32) {
    write_varint(out, u64::from(field) << 3 | 5);
    out.extend_from_slice(&value.to_le_bytes());
}

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
