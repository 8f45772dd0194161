//! Attributes: lists of keys with values.

use alloc::string::String;
use alloc::vec::Vec;

use crate::read::field::{self, Fields, skip_field};
use value::Value;

pub(crate) mod value;

/// One attribute: a key and its value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Attribute<'a> {
    /// The key.
    pub key: &'a str,
    /// The value; [`Value::Empty`] if there is none.
    pub value: Value<'a>,
}

impl<'a> Attribute<'a> {
    /// Reads a serialized `KeyValue`.
    pub fn new(key_value: &'a [u8]) -> Self {
        let mut attribute = Self {
            key: "",
            value: Value::Empty,
        };
        for field in Fields::new(key_value) {
            match field.number {
                1 => attribute.key = field.text(),
                2 => attribute.value = attribute.value.merged(field.bytes()),
                _ => {}
            }
        }
        attribute
    }

    /// Returns the text of its value, if it is one.
    pub fn as_str(&self) -> Option<&'a str> {
        self.value.as_str()
    }
}

/// A serialized `KeyValue` and its key, as bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RawAttribute<'a> {
    pub(crate) key: &'a [u8],
    pub(crate) key_value: &'a [u8],
}

/// Returns the attribute in field `number` that a message begins with, and what follows it, if it
/// looks as encoders mostly write it: the key, then the value, in less than 128 bytes.
#[inline(always)]
pub(crate) fn plain(message: &[u8], number: u32) -> Option<(RawAttribute<'_>, &[u8])> {
    let start = u32::from_le_bytes(*message.first_chunk::<4>()?);
    // These are the field's key, its length, and the key of the first field in it.
    if start & 0x00ff_80ff != 0x000a_0000 | (number << 3 | 2) {
        return None;
    }
    let [_, len, _, key_len] = start.to_le_bytes();
    let (key_value, rest) = message.get(2..)?.split_at_checked(usize::from(len))?;
    let (key, value) = key_value.get(2..)?.split_at_checked(usize::from(key_len))?;
    match value {
        [0x12, len, value @ ..] if usize::from(*len) == value.len() => {}
        [] => {}
        _ => return None,
    }
    Some((RawAttribute { key, key_value }, rest))
}

/// Returns the value in a `KeyValue`.
#[inline]
fn value_of(attribute: RawAttribute<'_>) -> Value<'_> {
    let RawAttribute { key, key_value } = attribute;
    // The key, then a text to the end, both in short fields: so there is no other key or value.
    if let [0x0a, key_len, after @ ..] = key_value
        && usize::from(*key_len) == key.len()
        && key.len() < 0x80
        && let Some([0x12, value_len, value @ ..]) = after.get(key.len()..)
        && let [0x0a, len, text @ ..] = value
        && usize::from(*value_len) == value.len()
        && usize::from(*len) == text.len()
        && value.len() < 0x80
    {
        return Value::Str(field::text(text));
    }
    Attribute::new(key_value).value
}

/// Returns the key of a serialized `KeyValue`, as bytes.
#[inline]
pub(crate) fn key_of(key_value: &[u8]) -> &[u8] {
    // Every encoder writes this: the key, then the value, each in a short field.
    if let [0x0a, len, rest @ ..] = key_value
        && *len < 0x80
        && let Some((key, value)) = rest.split_at_checked(usize::from(*len))
        && (value.is_empty()
            || matches!(value, [0x12, len @ ..0x80, value @ ..] if usize::from(*len) == value.len()))
    {
        return key;
    }
    Fields::new(key_value)
        .filter(|field| field.number == 1)
        .last()
        .map_or(&[], |field| field.bytes())
}

/// The attributes of a message, in the order in which they stand. They are equal if their bytes
/// are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Attributes<'a> {
    fields: Fields<'a>,
    number: u32,
    /// The rest of the parent, if the message stands in it in several pieces.
    more: Fields<'a>,
    piece: u32,
}

impl<'a> Attributes<'a> {
    /// Returns the attributes in field `number` of a message.
    #[inline]
    pub(crate) fn new(message: &'a [u8], number: u32) -> Self {
        Self::in_pieces(message, number, &[], 0)
    }

    /// Returns the attributes in field `number` of a message that begins with `first` and has more
    /// pieces in the fields `piece` of `more`.
    #[inline]
    pub(crate) fn in_pieces(first: &'a [u8], number: u32, more: &'a [u8], piece: u32) -> Self {
        Self {
            fields: Fields::new(first),
            number,
            more: Fields::new(more),
            piece,
        }
    }

    /// Returns the value of the first attribute with this key.
    #[inline]
    pub fn get(mut self, key: &str) -> Option<Value<'a>> {
        while let Some(next) = self.next_keyed() {
            if next.key == key.as_bytes() {
                return Some(value_of(next));
            }
        }
        None
    }

    /// Returns the attributes with one of these keys, in order: the place of the key among `keys`,
    /// and the value. The values of all others are not read.
    #[inline]
    pub fn select(mut self, keys: &Keys) -> impl Iterator<Item = (usize, Value<'a>)> {
        core::iter::from_fn(move || {
            loop {
                let next = self.next_keyed()?;
                if let Some(place) = keys.place(next.key) {
                    return Some((place, value_of(next)));
                }
            }
        })
    }

    /// Returns the next attribute with its key.
    #[inline]
    fn next_keyed(&mut self) -> Option<RawAttribute<'a>> {
        loop {
            if let Some((next, rest)) = plain(self.fields.rest(), self.number) {
                self.fields = Fields::new(rest);
                return Some(next);
            }
            let Some(skipped) = skip_field(self.fields.rest()) else {
                self.fields = Fields::new(self.more.message(self.piece)?);
                continue;
            };
            self.fields = Fields::new(skipped.rest);
            if skipped.key == self.number << 3 | 2 {
                return Some(RawAttribute {
                    key: key_of(skipped.content),
                    key_value: skipped.content,
                });
            }
        }
    }

    /// Returns the next attribute as it is serialized: a `KeyValue`.
    #[inline]
    pub(crate) fn next_bytes(&mut self) -> Option<&'a [u8]> {
        loop {
            if let Some(key_value) = self.fields.message(self.number) {
                return Some(key_value);
            }
            self.fields = Fields::new(self.more.message(self.piece)?);
        }
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Attribute<'a>;

    #[inline]
    fn next(&mut self) -> Option<Attribute<'a>> {
        self.next_keyed().map(|next| Attribute {
            key: field::text(next.key),
            value: value_of(next),
        })
    }
}

/// Keys of attributes that are searched for in one walk (see [`Attributes::select`]).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keys {
    keys: Vec<String>,
    /// A bit for each length (modulo 64) that a key has. Most attributes have none of the keys, and
    /// this shows it for most of them without a look at their key.
    lengths: u64,
}

impl Keys {
    /// Makes a list of the keys in this order. If two are equal, the first counts.
    pub fn new(keys: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let keys: Vec<String> = keys.into_iter().map(Into::into).collect();
        let lengths = keys.iter().fold(0, |bits, key| bits | length_bit(key));
        Self { keys, lengths }
    }

    /// Returns the keys, in their order.
    pub fn as_slice(&self) -> &[String] {
        &self.keys
    }

    /// Returns the place of a key among these.
    #[inline]
    pub(crate) fn place(&self, key: &[u8]) -> Option<usize> {
        if self.lengths & length_bit(key) == 0 {
            return None;
        }
        self.keys.iter().position(|known| known.as_bytes() == key)
    }
}

#[inline]
fn length_bit(key: impl AsRef<[u8]>) -> u64 {
    1 << (key.as_ref().len() % 64)
}
