//! Writes the small messages of OTLP, from which edits and test spans are made: values, attributes
//! and the status of a span.

use alloc::vec::Vec;

use super::fields::{write_bytes, write_double, write_text, write_varint_field};
use super::nested::write_nested;
use crate::read::attributes::Attributes;
use crate::read::attributes::value::{Value, Values};
use crate::read::span::Status;

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
