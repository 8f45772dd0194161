//! Makes bytes as unusual as protobuf allows, with the same or another meaning that decoders agree
//! on: unknown fields at every level, messages in pieces, fields that stand twice, overlong
//! lengths.

use crate::dice::Dice;

/// Field numbers from here on are unknown.
pub(crate) const UNKNOWN: u64 = 100;

/// A message whose fields are rewritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    Request,
    ResourceEntry,
    ScopeEntry,
    Resource,
    Scope,
    Span,
    Status,
    Event,
    Link,
    KeyValue,
    Value,
    Array,
    List,
}

impl Level {
    /// Returns the level of the message in the field with this number.
    pub(crate) fn inside(self, number: u64) -> Option<Self> {
        Some(match (self, number) {
            (Self::Request, 1) => Self::ResourceEntry,
            (Self::ResourceEntry, 1) => Self::Resource,
            (Self::ResourceEntry, 2) => Self::ScopeEntry,
            (Self::ScopeEntry, 1) => Self::Scope,
            (Self::ScopeEntry, 2) => Self::Span,
            (Self::Span, 11) => Self::Event,
            (Self::Span, 13) => Self::Link,
            (Self::Span, 15) => Self::Status,
            (Self::Resource | Self::List, 1)
            | (Self::Scope | Self::Event, 3)
            | (Self::Span, 9)
            | (Self::Link, 4) => Self::KeyValue,
            (Self::KeyValue, 2) | (Self::Array, 1) => Self::Value,
            (Self::Value, 5) => Self::Array,
            (Self::Value, 6) => Self::List,
            _ => return None,
        })
    }

    /// Returns true if it stands at most once in its parent, so that its pieces are merged.
    fn is_single(self) -> bool {
        matches!(
            self,
            Self::Resource | Self::Scope | Self::Status | Self::Array | Self::List
        )
    }
}

/// One field as it stands.
pub(crate) struct Raw<'a> {
    pub(crate) number: u64,
    pub(crate) wire: u64,
    /// The bytes of the field, with its key.
    pub(crate) raw: &'a [u8],
    /// The content of a field of variable length.
    pub(crate) body: &'a [u8],
}

/// Returns the fields of a message that has no groups at the top.
pub(crate) fn fields(mut message: &[u8]) -> Vec<Raw<'_>> {
    let mut fields = Vec::new();
    while !message.is_empty() {
        let (key, key_len) = varint(message);
        let after = &message[key_len..];
        let (len, body) = match key & 7 {
            0 => (varint(after).1, &after[..0]),
            1 => (8, &after[..0]),
            2 => {
                let (len, prefix) = varint(after);
                let end = prefix + usize::try_from(len).unwrap();
                (end, &after[prefix..end])
            }
            3 => {
                // The groups made here have one field inside, of one byte.
                let (_, inner) = varint(after);
                (inner + 1 + key_len, &after[..0])
            }
            5 => (4, &after[..0]),
            wire => panic!("wire type {wire}"),
        };
        let (raw, rest) = message.split_at(key_len + len);
        fields.push(Raw {
            number: key >> 3,
            wire: key & 7,
            raw,
            body,
        });
        message = rest;
    }
    fields
}

/// Returns the same request, messed up.
pub(crate) fn mess_up(dice: &mut Dice, message: &[u8]) -> Vec<u8> {
    rewrite(dice, message, Level::Request)
}

/// Returns the same message of another level, messed up.
pub(crate) fn mess_up_as(dice: &mut Dice, message: &[u8], level: Level) -> Vec<u8> {
    rewrite(dice, message, level)
}

fn rewrite(dice: &mut Dice, message: &[u8], level: Level) -> Vec<u8> {
    let mut out = Vec::new();
    let rare = 12;
    for field in fields(message) {
        if dice.once_in(rare) {
            unknown(dice, &mut out);
        }
        if dice.once_in(rare) && field.wire != 2 {
            // If a field stands twice, the last counts.
            out.extend_from_slice(field.raw);
        }
        match level.inside(field.number) {
            Some(inside) => {
                let body = rewrite(dice, field.body, inside);
                let cut = fields(&body).first().map_or(0, |first| first.raw.len());
                if inside.is_single() && dice.once_in(4) {
                    delimited(dice, &mut out, field.number, &body[..cut]);
                    delimited(dice, &mut out, field.number, &body[cut..]);
                } else {
                    delimited(dice, &mut out, field.number, &body);
                }
            }
            None if field.wire == 2 => delimited(dice, &mut out, field.number, field.body),
            None => out.extend_from_slice(field.raw),
        }
    }
    if dice.once_in(rare) {
        unknown(dice, &mut out);
    }
    out
}

fn unknown(dice: &mut Dice, out: &mut Vec<u8>) {
    let number = UNKNOWN + u64::from(dice.byte());
    match dice.roll(5) {
        0 => {
            write_varint(out, number << 3);
            write_varint(out, dice.word());
        }
        1 => {
            write_varint(out, number << 3 | 1);
            out.extend_from_slice(&dice.word().to_le_bytes());
        }
        2 => {
            let body = dice.bytes(10);
            delimited(dice, out, number, &body);
        }
        3 => {
            write_varint(out, number << 3 | 3);
            write_varint(out, 5 << 3);
            out.push(dice.byte() & 0x7f);
            write_varint(out, number << 3 | 4);
        }
        _ => {
            write_varint(out, number << 3 | 5);
            out.extend_from_slice(&[dice.byte(); 4]);
        }
    }
}

fn delimited(dice: &mut Dice, out: &mut Vec<u8>, number: u64, body: &[u8]) {
    write_varint(out, number << 3 | 2);
    write_varint(out, body.len() as u64);
    if dice.once_in(15) {
        // This is the same length, a byte longer.
        *out.last_mut().unwrap() |= 0x80;
        out.push(0);
    }
    out.extend_from_slice(body);
}

fn varint(bytes: &[u8]) -> (u64, usize) {
    let mut value = 0;
    for (index, byte) in bytes.iter().enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if *byte < 0x80 {
            return (value, index + 1);
        }
    }
    panic!("varint without end")
}

fn write_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(u8::try_from(value & 0x7f).unwrap() | 0x80);
        value >>= 7;
    }
    out.push(u8::try_from(value).unwrap());
}
