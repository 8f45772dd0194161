//! The values that attributes can have, and their OTLP encoding.

use spandrel_wire::{
    Attribute, Value, retain_fields, write_bytes, write_nested, write_text, write_value,
};

/// A value that an attribute can be set to: text, numbers, booleans, lists of these, a [`NewMap`],
/// and any [`Value`] that was read from a span.
pub trait AttributeValue {
    /// Appends the content of an `AnyValue` message.
    fn write(&self, out: &mut Vec<u8>);
}

impl<V: AttributeValue + ?Sized> AttributeValue for &V {
    fn write(&self, out: &mut Vec<u8>) {
        V::write(self, out);
    }
}

impl AttributeValue for Value<'_> {
    fn write(&self, out: &mut Vec<u8>) {
        write_value(out, *self);
    }
}

impl AttributeValue for str {
    fn write(&self, out: &mut Vec<u8>) {
        write_text(out, 1, self);
    }
}

impl AttributeValue for String {
    fn write(&self, out: &mut Vec<u8>) {
        self.as_str().write(out);
    }
}

macro_rules! scalar_values {
    ($($scalar:ty),*) => {$(
        impl AttributeValue for $scalar {
            fn write(&self, out: &mut Vec<u8>) {
                write_value(out, (*self).into());
            }
        }
    )*};
}

scalar_values!(bool, i32, i64, u32, f64);

/// Writes a list.
impl<V: AttributeValue> AttributeValue for [V] {
    fn write(&self, out: &mut Vec<u8>) {
        write_nested(out, 5, |out| {
            for value in self {
                write_message(out, 1, value);
            }
        });
    }
}

impl<V: AttributeValue, const N: usize> AttributeValue for [V; N] {
    fn write(&self, out: &mut Vec<u8>) {
        self.as_slice().write(out);
    }
}

impl<V: AttributeValue> AttributeValue for Vec<V> {
    fn write(&self, out: &mut Vec<u8>) {
        self.as_slice().write(out);
    }
}

/// A map under construction: a value with entries by key.
///
/// ```
/// # use spandrel_guest::prelude::*;
/// # fn tag(span: &Span<'_>) {
/// let owner = NewMap::new().entry("team", "shop").entry("pager", ["eu", "us"]);
/// span.set_attribute("owner", owner);
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct NewMap {
    /// The content of a `KeyValueList` message.
    bytes: Vec<u8>,
}

impl NewMap {
    /// Makes a map without entries.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets an entry. It replaces one with the same key.
    pub fn entry(mut self, key: &str, value: impl AttributeValue) -> Self {
        delete_attribute(&mut self.bytes, 1, key);
        write_attribute_field(&mut self.bytes, 1, key, &value);
        self
    }
}

impl AttributeValue for NewMap {
    fn write(&self, out: &mut Vec<u8>) {
        write_bytes(out, 6, &self.bytes);
    }
}

/// Appends a field with a `KeyValue` message.
pub(crate) fn write_attribute_field(
    out: &mut Vec<u8>,
    field: u32,
    key: &str,
    value: &impl AttributeValue,
) {
    write_nested(out, field, |out| write_attribute(out, key, value));
}

/// Removes each field with this number from a message if it is a `KeyValue` message with this key.
pub(crate) fn delete_attribute(message: &mut Vec<u8>, field: u32, key: &str) {
    retain_fields(message, |number, content| {
        number != field || Attribute::new(content).key != key
    });
}

/// Appends the content of a `KeyValue` message.
pub(crate) fn write_attribute(
    out: &mut Vec<u8>,
    key: &str,
    value: &(impl AttributeValue + ?Sized),
) {
    write_text(out, 1, key);
    write_message(out, 2, value);
}

fn write_message(out: &mut Vec<u8>, field: u32, value: &(impl AttributeValue + ?Sized)) {
    write_nested(out, field, |out| value.write(out));
}
