//! Attributes: lists of keys with values.

use crate::field::Fields;
use crate::value::Value;

/// One attribute: a key and its value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Attribute<'a> {
    /// Its key.
    pub key: &'a str,
    /// Its value; [`Value::Empty`] when there is none.
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
}

/// The key of a serialized `KeyValue`, as bytes.
#[inline]
pub(crate) fn key_of(key_value: &[u8]) -> &[u8] {
    // What every encoder writes: the key, then the value, each in a short field.
    if let [0x0a, len, rest @ ..] = key_value
        && *len < 0x80
        && let Some((key, value)) = rest.split_at_checked(usize::from(*len))
        && (value.is_empty()
            || matches!(value, [0x12, len, value @ ..] if usize::from(*len) == value.len()))
    {
        return key;
    }
    Fields::new(key_value)
        .filter(|field| field.number == 1)
        .last()
        .map_or(&[], |field| field.bytes())
}

/// The attributes of something, in the order in which they stand. Equal when their bytes are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Attributes<'a> {
    fields: Fields<'a>,
    number: u32,
    /// More of the parent, when the message stands in it in several pieces.
    more: Fields<'a>,
    piece: u32,
}

impl<'a> Attributes<'a> {
    /// The attributes in field `number` of a message.
    #[inline]
    pub(crate) fn new(message: &'a [u8], number: u32) -> Self {
        Self::in_pieces(message, number, &[], 0)
    }

    /// The attributes in field `number` of a message that begins with `first` and has more pieces in
    /// the fields `piece` of `more`.
    #[inline]
    pub(crate) fn in_pieces(first: &'a [u8], number: u32, more: &'a [u8], piece: u32) -> Self {
        Self {
            fields: Fields::new(first),
            number,
            more: Fields::new(more),
            piece,
        }
    }

    /// The value of the first attribute with this key.
    #[inline]
    pub fn get(mut self, key: &str) -> Option<Value<'a>> {
        while let Some(key_value) = self.next_bytes() {
            if key_of(key_value) == key.as_bytes() {
                return Some(Attribute::new(key_value).value);
            }
        }
        None
    }

    /// The next attribute as it is serialized: a `KeyValue`.
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
        self.next_bytes().map(Attribute::new)
    }
}
