//! Attributes as nearly every exporter writes them: `{"key":"...","value":{"stringValue":"..."}}`
//! without white space or escapes. They are most of every request, so they have a way of their own.

use alloc::vec::Vec;

use crate::json::draft::Draft;
use crate::json::{number, scan};
use crate::write::fields::{varint_len, write_varint};

/// The keys of the fields of an attribute and of its value.
const KEY: u8 = 1 << 3 | 2;
const VALUE: u8 = 2 << 3 | 2;
const TEXT: u8 = 1 << 3 | 2;
const BOOL: u8 = 2 << 3;
const INT: u8 = 3 << 3;
const DOUBLE: u8 = 4 << 3 | 1;

/// The pieces of a text between keys and values.
struct Form {
    key: &'static [u8],
    value: &'static [u8],
    text: &'static [u8],
    comma: &'static [u8],
}

/// The form without white space, which JavaScript, PHP and Go write.
const COMPACT: Form = Form {
    key: b"{\"key\":\"",
    value: b"\",\"value\":{",
    text: b"\"stringValue\":\"",
    comma: b",",
};

/// The form with a space behind each colon and comma, which Python writes.
const SPACED: Form = Form {
    key: b"{\"key\": \"",
    value: b"\", \"value\": {",
    text: b"\"stringValue\": \"",
    comma: b", ",
};

/// Writes the attributes that a text begins with, as fields with this key of one byte, and returns
/// the bytes that they took in the text. It ends behind the last one of the list and in front of one
/// of another form, which may be a good one nevertheless.
pub(super) fn write_plain(out: &mut Vec<u8>, field: u8, text: &[u8]) -> usize {
    if text.starts_with(SPACED.key) {
        write_spaced(out, field, text)
    } else {
        write_all(out, field, text, &COMPACT)
    }
}

#[inline(never)]
fn write_spaced(out: &mut Vec<u8>, field: u8, text: &[u8]) -> usize {
    write_all(out, field, text, &SPACED)
}

#[inline(always)]
fn write_all(out: &mut Vec<u8>, field: u8, text: &[u8], form: &Form) -> usize {
    let mut rest = text;
    let mut len = 0;
    while let Some(after) = write_one(out, field, rest, form) {
        len = text.len() - after.len();
        let Some(next) = after.strip_prefix(form.comma) else {
            break;
        };
        rest = next;
    }
    len
}

/// Writes one attribute, and returns what follows. Returns `None`, with nothing written, if it has
/// another form.
#[inline(always)]
fn write_one<'a>(out: &mut Vec<u8>, field: u8, text: &'a [u8], form: &Form) -> Option<&'a [u8]> {
    let text = text.strip_prefix(form.key)?;
    let key = plain_text(text)?;
    // A key without text is the default, which is not written.
    if key == 0 {
        return None;
    }
    let member = text.get(key..)?.strip_prefix(form.value)?;
    if let Some(value_text) = member.strip_prefix(form.text) {
        let value = plain_text(value_text)?;
        let rest = value_text.get(value..)?.strip_prefix(b"\"}}")?;
        write_text(out, field, [(text, key), (value_text, value)]);
        return Some(rest);
    }
    let (value, rest) = scalar(member)?;
    let rest = rest.strip_prefix(b"}}")?;
    write_key(out, field, text.get(..key)?, value.len);
    out.extend_from_slice(value.bytes.get(..value.len)?);
    Some(rest)
}

/// Writes the value that a text begins with, as a field with this key, and returns the bytes that it
/// took in the text. Returns `None`, with nothing written, if it is no text or has another form.
#[inline(always)]
pub(super) fn write_value(draft: &mut Draft, key: u32, text: &[u8]) -> Option<usize> {
    let rest = text.strip_prefix(b"{\"stringValue\":\"")?;
    let len = plain_text(rest)?;
    let after = rest.get(len..)?.strip_prefix(b"\"}")?;
    draft.key(key);
    write_varint(&mut draft.out, (1 + varint_len(len) + len) as u64);
    draft.out.push(TEXT);
    write_varint(&mut draft.out, len as u64);
    append(&mut draft.out, rest, len);
    Some(text.len() - after.len())
}

/// Returns the length of the text without escapes up to its quote.
#[inline(always)]
fn plain_text(text: &[u8]) -> Option<usize> {
    let plain = scan::plain(text);
    (plain.is_ascii || core::str::from_utf8(text.get(..plain.len)?).is_ok()).then_some(plain.len)
}

/// Writes an attribute with a text. Key and text are the beginnings of what stands there.
#[inline(always)]
fn write_text(
    out: &mut Vec<u8>,
    field: u8,
    [(key, key_len), (text, text_len)]: [(&[u8], usize); 2],
) {
    let whole = key_len + text_len + 6;
    if whole < 0x80 {
        // All lengths take one byte.
        let [whole, short_key, short_text] = [whole, key_len, text_len].map(low_byte);
        out.extend_from_slice(&[field, whole, KEY, short_key]);
        append(out, key, key_len);
        out.extend_from_slice(&[VALUE, short_text + 2, TEXT, short_text]);
    } else {
        let value = 1 + varint_len(text_len) + text_len;
        write_key(out, field, key.get(..key_len).unwrap_or_default(), value);
        out.push(TEXT);
        write_varint(out, text_len as u64);
    }
    append(out, text, text_len);
}

/// Appends the first `len` bytes. Most texts are short: 32 bytes are copied without a call, and cut.
#[inline(always)]
fn append(out: &mut Vec<u8>, bytes: &[u8], len: usize) {
    const SHORT: usize = 32;
    if len <= SHORT
        && let Some(chunk) = bytes.first_chunk::<SHORT>()
    {
        let end = out.len() + len;
        out.extend_from_slice(chunk);
        out.truncate(end);
    } else {
        out.extend_from_slice(bytes.get(..len).unwrap_or_default());
    }
}

/// The content of a value that is no text.
#[derive(Clone, Copy, Debug)]
struct Scalar {
    bytes: [u8; 11],
    len: usize,
}

fn scalar(text: &[u8]) -> Option<(Scalar, &[u8])> {
    let mut bytes = [0; 11];
    if let Some(rest) = behind_key(text, b"\"intValue\":") {
        let (value, rest) = integer(rest)?;
        bytes[0] = INT;
        let mut left = value.cast_unsigned();
        let mut len = 1;
        for byte in bytes.iter_mut().skip(1) {
            len += 1;
            *byte = left.to_le_bytes()[0] & 0x7f;
            left >>= 7;
            if left == 0 {
                break;
            }
            *byte |= 0x80;
        }
        return Some((Scalar { bytes, len }, rest));
    }
    if let Some(rest) = behind_key(text, b"\"boolValue\":") {
        let (value, rest) = match rest.strip_prefix(b"true") {
            Some(rest) => (1, rest),
            None => (0, rest.strip_prefix(b"false")?),
        };
        bytes[0] = BOOL;
        bytes[1] = value;
        return Some((Scalar { bytes, len: 2 }, rest));
    }
    let rest = behind_key(text, b"\"doubleValue\":")?;
    let (value, len) = number::begins_well(rest).then(|| number::double(rest))??;
    bytes[0] = DOUBLE;
    for (byte, bits) in bytes.iter_mut().skip(1).zip(value.to_le_bytes()) {
        *byte = bits;
    }
    Some((Scalar { bytes, len: 9 }, rest.get(len..)?))
}

/// Returns what follows a key, and a space if there is one.
#[inline(always)]
fn behind_key<'a>(text: &'a [u8], key: &[u8]) -> Option<&'a [u8]> {
    let rest = text.strip_prefix(key)?;
    Some(rest.strip_prefix(b" ").unwrap_or(rest))
}

/// Reads an integer, in quotes or not.
fn integer(text: &[u8]) -> Option<(i64, &[u8])> {
    let in_quotes = text.strip_prefix(b"\"");
    let digits = in_quotes.unwrap_or(text);
    if !number::begins_well(digits) {
        return None;
    }
    let integer = number::integer(digits)?;
    let mut rest = digits.get(integer.len..)?;
    if in_quotes.is_some() {
        rest = rest.strip_prefix(b"\"")?;
    }
    Some((integer.signed()?, rest))
}

/// Writes an attribute up to the content of its value, which takes this many bytes.
fn write_key(out: &mut Vec<u8>, field: u8, key: &[u8], value: usize) {
    let key_field = 1 + varint_len(key.len()) + key.len();
    let value_field = 1 + varint_len(value) + value;
    out.push(field);
    write_varint(out, (key_field + value_field) as u64);
    out.push(KEY);
    write_varint(out, key.len() as u64);
    out.extend_from_slice(key);
    out.push(VALUE);
    write_varint(out, value as u64);
}

#[inline(always)]
fn low_byte(number: usize) -> u8 {
    number.to_le_bytes()[0]
}
