//! Attribute values.

use crate::attributes::Attributes;
use crate::field::{Fields, Payload};

/// The value of an attribute. Lists are read as one goes through them; two lists are equal when
/// their bytes are. A list that was written in several pieces (legal, and done by nobody) reads as
/// its last piece.
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

    /// This value once one more piece of its `AnyValue` is read.
    #[inline]
    pub(crate) fn merged(mut self, any_value: &'a [u8]) -> Self {
        for field in Fields::new(any_value) {
            self = match (field.number, field.payload) {
                (1, Payload::Len(_)) => Self::Str(field.text()),
                (2, Payload::Varint(value)) => Self::Bool(value != 0),
                (3, Payload::Varint(value)) => Self::Int(value.cast_signed()),
                (4, Payload::Fixed64(bits)) => Self::Double(f64::from_bits(bits)),
                (5, Payload::Len(list)) => Self::Array(Values {
                    fields: Fields::new(list),
                }),
                (6, Payload::Len(list)) => Self::KeyValues(Attributes::new(list, 1)),
                (7, Payload::Len(bytes)) => Self::Bytes(bytes),
                // A reference into a dictionary that requests of these signals do not have.
                (8, Payload::Varint(_)) => Self::Empty,
                _ => self,
            };
        }
        self
    }

    /// The text, when it is one.
    pub fn as_str(self) -> Option<&'a str> {
        match self {
            Self::Str(text) => Some(text),
            _ => None,
        }
    }

    /// The truth value, when it is one.
    pub fn as_bool(self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(value),
            _ => None,
        }
    }

    /// The whole number, when it is one.
    pub fn as_int(self) -> Option<i64> {
        match self {
            Self::Int(value) => Some(value),
            _ => None,
        }
    }

    /// The floating-point number, when it is one.
    pub fn as_double(self) -> Option<f64> {
        match self {
            Self::Double(value) => Some(value),
            _ => None,
        }
    }

    /// The bytes, when it is some.
    pub fn as_bytes(self) -> Option<&'a [u8]> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The values of the list, when it is one.
    pub fn as_array(self) -> Option<Values<'a>> {
        match self {
            Self::Array(values) => Some(values),
            _ => None,
        }
    }

    /// The keys with values, when it is such a list.
    pub fn as_key_values(self) -> Option<Attributes<'a>> {
        match self {
            Self::KeyValues(list) => Some(list),
            _ => None,
        }
    }

    /// Whether there is no value.
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
    fields: Fields<'a>,
}

impl<'a> Values<'a> {
    /// The serialized `ArrayValue`, from the next value on.
    pub(crate) const fn bytes(&self) -> &'a [u8] {
        self.fields.rest()
    }
}

impl<'a> Iterator for Values<'a> {
    type Item = Value<'a>;

    fn next(&mut self) -> Option<Value<'a>> {
        self.fields.message(1).map(Value::new)
    }
}
