//! A serde deserializer for the config's tree, guided by the type that the plugin asks for.

use std::borrow::Cow;
use std::fmt;

use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{
    Deserializer, EnumAccess, Error as _, Expected, IntoDeserializer, Unexpected, VariantAccess,
    Visitor,
};
use serde::{Deserialize, forward_to_deserialize_any};

use super::json::Node;
use super::number::{self, Number};

/// An error in serde's words.
#[derive(Debug)]
pub(super) struct Wrong(String);

impl fmt::Display for Wrong {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for Wrong {}

impl serde::de::Error for Wrong {
    fn custom<T: fmt::Display>(what: T) -> Self {
        Self(what.to_string())
    }

    /// Says `null` for a unit value, because that is what an operator writes.
    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        match found {
            Unexpected::Unit => Self(format!("invalid type: null, expected {expected}")),
            found => Self(format!("invalid type: {found}, expected {expected}")),
        }
    }
}

/// Visits a whole number, or a text that contains one.
fn whole<'j, V: Visitor<'j>>(node: &Node<'j>, visitor: V) -> Result<V::Value, Wrong> {
    let text = match node {
        Node::Number(text) => text,
        Node::Text(text) => text.as_ref(),
        _ => return node.deserialize_any(visitor),
    };
    match number::read(text) {
        Some(Number::Wide(number)) => visitor.visit_i128(number),
        Some(number) => number.visit(visitor),
        None => visitor.visit_str(text),
    }
}

/// Visits a number, or a text that contains one.
fn float<'j, V: Visitor<'j>>(node: &Node<'j>, visitor: V) -> Result<V::Value, Wrong> {
    match node {
        Node::Text(text) => match number::read(text) {
            Some(number) => number.visit(visitor),
            None => visitor.visit_str(text),
        },
        other => other.deserialize_any(visitor),
    }
}

/// Visits a scalar as the text that was written.
fn text<'j, V: Visitor<'j>>(node: &Node<'j>, visitor: V) -> Result<V::Value, Wrong> {
    match node {
        Node::Text(Cow::Borrowed(text)) | Node::Number(text) => visitor.visit_borrowed_str(text),
        _ => match node.as_written() {
            Some(text) => visitor.visit_str(text),
            None => node.deserialize_any(visitor),
        },
    }
}

impl Number {
    fn visit<'j, V: Visitor<'j>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match self {
            Self::Unsigned(number) => visitor.visit_u64(number),
            Self::Signed(number) => visitor.visit_i64(number),
            // A number that only 128-bit types can hold is a float for all others, as in
            // `serde_json`.
            Self::Wide(number) => visitor.visit_f64(number as f64),
            Self::Float(number) => visitor.visit_f64(number),
        }
    }
}

macro_rules! scalars {
    ($($method:ident by $read:ident),*) => {$(
        fn $method<V: Visitor<'j>>(self, visitor: V) -> Result<V::Value, Wrong> {
            $read(self, visitor)
        }
    )*};
}

/// A text type gets any scalar as it was written. A number or boolean type also accepts a text that
/// contains one, because a variable in quotes is a text.
impl<'j> Deserializer<'j> for &Node<'j> {
    type Error = Wrong;

    fn deserialize_any<V: Visitor<'j>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match self {
            Node::Null => visitor.visit_unit(),
            Node::Bool(value) => visitor.visit_bool(*value),
            Node::Number(text) => match number::read(text) {
                Some(number) => number.visit(visitor),
                None => visitor.visit_str(text),
            },
            Node::Text(_) => text(self, visitor),
            Node::List(parts) => {
                let mut parts = SeqDeserializer::new(parts.iter());
                let read = visitor.visit_seq(&mut parts)?;
                parts.end().map(|()| read)
            }
            Node::Map(entries) => {
                let entries = entries.iter().map(|(key, value)| (key, value));
                let mut entries = MapDeserializer::new(entries);
                let read = visitor.visit_map(&mut entries)?;
                entries.end().map(|()| read)
            }
        }
    }

    scalars! {
        deserialize_i8 by whole, deserialize_i16 by whole, deserialize_i32 by whole,
        deserialize_i64 by whole, deserialize_i128 by whole, deserialize_u8 by whole,
        deserialize_u16 by whole, deserialize_u32 by whole, deserialize_u64 by whole,
        deserialize_u128 by whole, deserialize_f32 by float, deserialize_f64 by float,
        deserialize_char by text, deserialize_str by text, deserialize_string by text,
        deserialize_identifier by text
    }

    fn deserialize_bool<V: Visitor<'j>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match self.as_written() {
            Some("true" | "True" | "TRUE") => visitor.visit_bool(true),
            Some("false" | "False" | "FALSE") => visitor.visit_bool(false),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'j>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match self {
            Node::Null => visitor.visit_none(),
            some => visitor.visit_some(some),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'j>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'j>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        match self {
            Node::Map(entries) => match entries.as_slice() {
                [(name, content)] => visitor.visit_enum(Variant {
                    name,
                    content: Some(content),
                }),
                _ => Err(Wrong::invalid_value(
                    Unexpected::Map,
                    &"map with a single key",
                )),
            },
            name if name.as_written().is_some() => visitor.visit_enum(Variant {
                name,
                content: None,
            }),
            other => other.deserialize_any(visitor),
        }
    }

    forward_to_deserialize_any! {
        <V: Visitor<'j>>
        bytes byte_buf unit unit_struct seq tuple tuple_struct map struct ignored_any
    }
}

impl<'j> IntoDeserializer<'j, Wrong> for &Node<'j> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

/// A variant of an enum: its name alone, or a map from its name to its content.
struct Variant<'n, 'j> {
    name: &'n Node<'j>,
    content: Option<&'n Node<'j>>,
}

impl<'j> EnumAccess<'j> for Variant<'_, 'j> {
    type Error = Wrong;
    type Variant = Self;

    fn variant_seed<S: serde::de::DeserializeSeed<'j>>(
        self,
        seed: S,
    ) -> Result<(S::Value, Self), Wrong> {
        Ok((seed.deserialize(self.name)?, self))
    }
}

impl<'n, 'j> Variant<'n, 'j> {
    fn content(&self) -> Result<&'n Node<'j>, Wrong> {
        self.content
            .ok_or_else(|| Wrong::invalid_type(Unexpected::UnitVariant, &"a variant with content"))
    }
}

impl<'j> VariantAccess<'j> for Variant<'_, 'j> {
    type Error = Wrong;

    fn unit_variant(self) -> Result<(), Wrong> {
        self.content.map_or(Ok(()), Deserialize::deserialize)
    }

    fn newtype_variant_seed<S: serde::de::DeserializeSeed<'j>>(
        self,
        seed: S,
    ) -> Result<S::Value, Wrong> {
        seed.deserialize(self.content()?)
    }

    fn tuple_variant<V: Visitor<'j>>(self, _: usize, visitor: V) -> Result<V::Value, Wrong> {
        self.content()?.deserialize_any(visitor)
    }

    fn struct_variant<V: Visitor<'j>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        self.content()?.deserialize_any(visitor)
    }
}
