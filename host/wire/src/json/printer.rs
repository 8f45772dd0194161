//! Writes the JSON of protobuf bytes while reading them.

use alloc::vec::Vec;
use core::fmt::{self, Write as _};

use crate::json::shape::{Field, KEY_VALUE, Kind, Presence, Shape};
use crate::json::{base64, hex, order, scan};
use crate::read::field::{Fields, Payload, varint};

/// Writes the object of a valid message.
pub(super) fn message(out: &mut Vec<u8>, shape: &'static Shape, bytes: &[u8]) {
    if order::is_good(shape, bytes) {
        members(out, shape, bytes);
    } else {
        members(out, shape, &order::in_order(shape, bytes));
    }
}

/// Writes the object of a message whose fields stand once, and whose lists stand together.
fn members(out: &mut Vec<u8>, shape: &'static Shape, bytes: &[u8]) {
    out.push(b'{');
    let mut likely = 0;
    let mut list = None;
    for read in Fields::new(bytes) {
        let Some(place) = shape.place_of(read.number, likely) else {
            continue;
        };
        let Some(field) = shape.fields.get(place) else {
            continue;
        };
        likely = place;
        if list.is_some_and(|list| list != place) {
            out.push(b']');
            list = None;
        }
        if field.presence == Presence::List {
            if list.is_none() {
                key(out, field);
                out.push(b'[');
                list = Some(place);
            }
            list_values(out, field.kind, read.payload);
        } else if field.presence != Presence::Implicit || !is_default(read.payload) {
            key(out, field);
            value(out, field.kind, read.payload);
        }
    }
    if list.is_some() {
        out.push(b']');
    }
    out.push(b'}');
}

/// Writes a comma if it is not the first member of an object or list.
fn separate(out: &mut Vec<u8>) {
    if !matches!(out.last(), Some(b'{' | b'[')) {
        out.push(b',');
    }
}

fn key(out: &mut Vec<u8>, field: &Field) {
    separate(out);
    out.push(b'"');
    out.extend_from_slice(field.name.as_bytes());
    out.extend_from_slice(b"\":");
}

fn is_default(payload: Payload<'_>) -> bool {
    match payload {
        Payload::Varint(value) | Payload::Fixed64(value) => value == 0,
        Payload::Fixed32(value) => value == 0,
        Payload::Len(bytes) => bytes.is_empty(),
        Payload::Group => true,
    }
}

/// Writes the values of one field of a list: one, or many that are packed.
fn list_values(out: &mut Vec<u8>, kind: Kind, payload: Payload<'_>) {
    match (kind, payload) {
        (Kind::Fixed64 | Kind::Double, Payload::Len(packed)) => {
            for bits in packed.as_chunks::<8>().0 {
                separate(out);
                value(out, kind, Payload::Fixed64(u64::from_le_bytes(*bits)));
            }
        }
        (Kind::Uint64, Payload::Len(mut packed)) => {
            while let Some((number, rest)) = varint(packed) {
                separate(out);
                value(out, kind, Payload::Varint(number));
                packed = rest;
            }
        }
        _ => {
            separate(out);
            value(out, kind, payload);
        }
    }
}

fn value(out: &mut Vec<u8>, kind: Kind, payload: Payload<'_>) {
    let content = match payload {
        Payload::Len(content) => content,
        Payload::Varint(_) | Payload::Fixed64(_) | Payload::Fixed32(_) | Payload::Group => &[],
    };
    match kind {
        Kind::Message(shape) => message(out, shape, content),
        Kind::Attribute => message(out, &KEY_VALUE, content),
        Kind::Text => text(out, content),
        Kind::TraceId | Kind::SpanId => {
            out.push(b'"');
            hex::write(out, content);
            out.push(b'"');
        }
        Kind::Bytes => {
            out.push(b'"');
            base64::write(out, content);
            out.push(b'"');
        }
        _ => number(out, kind, payload),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "types of 32 bits are the low half of their varint"
)]
fn number(out: &mut Vec<u8>, kind: Kind, payload: Payload<'_>) {
    let bits = match payload {
        Payload::Varint(bits) | Payload::Fixed64(bits) => bits,
        Payload::Fixed32(bits) => u64::from(bits),
        Payload::Len(_) | Payload::Group => 0,
    };
    match kind {
        Kind::Bool if bits == 0 => out.extend_from_slice(b"false"),
        Kind::Bool => out.extend_from_slice(b"true"),
        Kind::Double => double(out, f64::from_bits(bits)),
        Kind::Uint32 | Kind::Fixed32 => decimal(out, false, u64::from(bits as u32)),
        Kind::Sint32 => {
            let bits = bits as u32;
            let value = (bits >> 1).cast_signed() ^ -(bits & 1).cast_signed();
            decimal(out, value < 0, u64::from(value.unsigned_abs()));
        }
        Kind::Enum(_) | Kind::Int32 => {
            let value = (bits as u32).cast_signed();
            decimal(out, value < 0, u64::from(value.unsigned_abs()));
        }
        // Numbers of 64 bits are texts, because JavaScript has no such numbers.
        Kind::Int64 | Kind::Sfixed64 => {
            let value = bits.cast_signed();
            out.push(b'"');
            decimal(out, value < 0, value.unsigned_abs());
            out.push(b'"');
        }
        _ => {
            out.push(b'"');
            decimal(out, false, bits);
            out.push(b'"');
        }
    }
}

fn decimal(out: &mut Vec<u8>, is_negative: bool, mut value: u64) {
    let mut digits = [b'0'; 20];
    let mut len = 0;
    for digit in digits.iter_mut().rev() {
        *digit += (value % 10).to_le_bytes()[0];
        value /= 10;
        len += 1;
        if value == 0 {
            break;
        }
    }
    if is_negative {
        out.push(b'-');
    }
    out.extend_from_slice(digits.get(20 - len..).unwrap_or_default());
}

/// Writes the shortest digits that are read as the same double.
fn double(out: &mut Vec<u8>, value: f64) {
    let size = value.abs();
    let words = &mut Words(out);
    // Writing to a vector cannot fail.
    let _ok = if value.is_nan() {
        words.write_str("\"NaN\"")
    } else if value.is_infinite() && value > 0.0 {
        words.write_str("\"Infinity\"")
    } else if value.is_infinite() {
        words.write_str("\"-Infinity\"")
    } else if size == 0.0 || (1e-6..1e21).contains(&size) {
        write!(words, "{value}")
    } else {
        write!(words, "{value:e}")
    };
}

/// Bytes as the target of formatting.
struct Words<'a>(&'a mut Vec<u8>);

impl fmt::Write for Words<'_> {
    fn write_str(&mut self, words: &str) -> fmt::Result {
        self.0.extend_from_slice(words.as_bytes());
        Ok(())
    }
}

/// Writes a text in quotes, with escapes where JSON needs them.
fn text(out: &mut Vec<u8>, content: &[u8]) {
    out.push(b'"');
    let mut rest = content;
    loop {
        let plain = scan::plain(rest).len;
        let (plain, after) = rest.split_at_checked(plain).unwrap_or((rest, &[]));
        out.extend_from_slice(plain);
        let Some((byte, after)) = after.split_first() else {
            break;
        };
        let escape: &[u8] = match byte {
            b'"' => b"\\\"",
            b'\\' => b"\\\\",
            b'\n' => b"\\n",
            b'\r' => b"\\r",
            b'\t' => b"\\t",
            _ => b"\\u00",
        };
        out.extend_from_slice(escape);
        if escape.len() > 2 {
            hex::write(out, &[*byte]);
        }
        rest = after;
    }
    out.push(b'"');
}
