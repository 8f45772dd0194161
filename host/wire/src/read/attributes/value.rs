//! Attribute values.

use crate::read::attributes::Attributes;
use crate::read::field::{Fields, Payload};

/// The value of an attribute. Lists are read during iteration; two lists are equal if their bytes
/// are.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Value<'a> {
    /// No value.
    #[default]
    Empty,
    /// A text.
    Str(&'a str),
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A floating-point number.
    Double(f64),
    /// Bytes.
    Bytes(&'a [u8]),
    /// A list of values.
    Array(Values<'a>),
    /// A list of keys with values.
    KeyValues(Attributes<'a>),
}

impl<'a> Value<'a> {
    /// Reads a serialized `AnyValue`.
    #[inline]
    pub fn new(any_value: &'a [u8]) -> Self {
        Self::Empty.merged(any_value)
    }

    /// Returns this value after one more piece of its `AnyValue` is read.
    #[inline]
    pub(crate) fn merged(mut self, any_value: &'a [u8]) -> Self {
        let mut fields = Fields::new(any_value);
        // This is the list that is being read: more fields of the same number are pieces of it.
        let mut list = 0;
        while let Some(field) = fields.next() {
            self = match (field.number, field.payload) {
                (number @ (5 | 6), _) if number == list => continue,
                (5, Payload::Len(first)) => Self::Array(Values {
                    values: Fields::new(first),
                    more: fields,
                }),
                (6, Payload::Len(first)) => {
                    Self::KeyValues(Attributes::in_pieces(first, 1, fields.rest(), 6))
                }
                (1, Payload::Len(_)) => Self::Str(field.text()),
                (2, Payload::Varint(value)) => Self::Bool(value != 0),
                (3, Payload::Varint(value)) => Self::Int(value.cast_signed()),
                (4, Payload::Fixed64(bits)) => Self::Double(f64::from_bits(bits)),
                (7, Payload::Len(bytes)) => Self::Bytes(bytes),
                // This is a reference into a dictionary, which requests of these signals do not
                // have.
                (8, Payload::Varint(_)) => Self::Empty,
                _ => continue,
            };
            list = field.number;
        }
        self
    }

    /// Returns the text, if it is one.
    pub fn as_str(self) -> Option<&'a str> {
        match self {
            Self::Str(text) => Some(text),
            _ => None,
        }
    }

    /// Returns the truth value, if it is one.
    pub fn as_bool(self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(value),
            _ => None,
        }
    }

    /// Returns the whole number, if it is one.
    pub fn as_int(self) -> Option<i64> {
        match self {
            Self::Int(value) => Some(value),
            _ => None,
        }
    }

    /// Returns the floating-point number, if it is one.
    pub fn as_double(self) -> Option<f64> {
        match self {
            Self::Double(value) => Some(value),
            _ => None,
        }
    }

    /// Returns the bytes, if it has bytes.
    pub fn as_bytes(self) -> Option<&'a [u8]> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// Returns the values of the list, if it is one.
    pub fn as_array(self) -> Option<Values<'a>> {
        match self {
            Self::Array(values) => Some(values),
            _ => None,
        }
    }

    /// Returns the keys with values, if it is such a list.
    pub fn as_key_values(self) -> Option<Attributes<'a>> {
        match self {
            Self::KeyValues(list) => Some(list),
            _ => None,
        }
    }

    /// Returns true if there is no value.
    pub fn is_empty(self) -> bool {
        matches!(self, Self::Empty)
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::Str(text)
    }
}

impl<'a> From<&'a [u8]> for Value<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::Bytes(bytes)
    }
}

impl From<bool> for Value<'_> {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<i64> for Value<'_> {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<i32> for Value<'_> {
    fn from(value: i32) -> Self {
        Self::Int(i64::from(value))
    }
}

impl From<u32> for Value<'_> {
    fn from(value: u32) -> Self {
        Self::Int(i64::from(value))
    }
}

impl From<f64> for Value<'_> {
    fn from(value: f64) -> Self {
        Self::Double(value)
    }
}

impl PartialEq<str> for Value<'_> {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == Some(other)
    }
}

impl PartialEq<&str> for Value<'_> {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == Some(*other)
    }
}

/// The values of a list, in order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Values<'a> {
    values: Fields<'a>,
    /// The bytes that follow in the `AnyValue`: mostly none, otherwise perhaps more pieces of the
    /// list.
    more: Fields<'a>,
}

impl<'a> Values<'a> {
    /// Returns the next value as it is serialized: an `AnyValue`.
    #[inline]
    pub(crate) fn next_bytes(&mut self) -> Option<&'a [u8]> {
        loop {
            if let Some(value) = self.values.message(1) {
                return Some(value);
            }
            self.values = Fields::new(self.more.message(5)?);
        }
    }
}

impl<'a> Iterator for Values<'a> {
    type Item = Value<'a>;

    #[inline]
    fn next(&mut self) -> Option<Value<'a>> {
        self.next_bytes().map(Value::new)
    }
}
