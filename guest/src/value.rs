//! What attributes can be set to, and its OTLP encoding.

use spandrel_wire::{Value, write_nested, write_text, write_value};

/// What an attribute can be set to: text, numbers, booleans, lists of these, and any [`Value`]
/// that was read from a span.
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

/// A list.
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
