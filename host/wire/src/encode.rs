//! Writes small pieces of OTLP, from which edits and test spans are made.
//!
//! Every function appends to the end of a `Vec<u8>`. Fields are written as they are given, default
//! values included.

use alloc::vec::Vec;

use crate::attributes::Attributes;
use crate::prefix;
use crate::span::Status;
use crate::value::{Value, Values};

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

/// Writes the content of an `AnyValue`. The contents of lists are written as they stand in the
/// bytes that the lists borrow.
pub fn write_value(out: &mut Vec<u8>, value: Value<'_>) {
    match value {
        Value::Empty => {}
        Value::Str(text) => write_text(out, 1, text),
        Value::Bool(value) => write_varint_field(out, 2, u64::from(value)),
        Value::Int(value) => write_varint_field(out, 3, value.cast_unsigned()),
        Value::Double(value) => write_double(out, 4, value),
        Value::Array(values) => write_array(out, values),
        Value::KeyValues(list) => write_list(out, list),
        Value::Bytes(bytes) => write_bytes(out, 7, bytes),
    }
}

/// Writes the content of a `KeyValue`.
pub fn write_key_value<'a>(out: &mut Vec<u8>, key: &str, value: impl Into<Value<'a>>) {
    write_text(out, 1, key);
    write_nested(out, 2, |out| write_value(out, value.into()));
}

/// Writes the content of a `Status`.
pub fn write_status(out: &mut Vec<u8>, status: Status<'_>) {
    if !status.message.is_empty() {
        write_text(out, 2, status.message);
    }
    if status.code.number() != 0 {
        write_varint_field(out, 3, u64::from(status.code.number()));
    }
}

/// Writes a message field whose content `write` appends.
pub fn write_nested(out: &mut Vec<u8>, field: u32, write: impl FnOnce(&mut Vec<u8>)) {
    // Most messages are short, so one byte for the length is right. Longer ones are moved to make
    // room.
    let prefix = prefix::begin(out, field, 0);
    write(out);
    prefix::end(out, prefix);
}

fn write_list(out: &mut Vec<u8>, mut list: Attributes<'_>) {
    write_nested(out, 6, |out| {
        while let Some(key_value) = list.next_bytes() {
            write_bytes(out, 1, key_value);
        }
    });
}

fn write_array(out: &mut Vec<u8>, mut values: Values<'_>) {
    write_nested(out, 5, |out| {
        while let Some(value) = values.next_bytes() {
            write_bytes(out, 1, value);
        }
    });
}
