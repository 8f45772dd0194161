//! OTLP bytes, read and edited where they lie.
//!
//! A batch is one serialized OTLP request and stays one: it is [validated](validate) once, read
//! through lazy [views](Traces), changed by copying its bytes around the places that change, and
//! never decoded into objects. Bytes that nobody asked to change leave as they came, unknown fields
//! included.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod attributes;
mod count;
mod encode;
mod field;
mod invalid;
mod limits;
mod schema;
mod signal;
mod span;
mod traces;
mod validate;
mod value;

pub use attributes::{Attribute, Attributes};
pub use count::count;
pub use encode::{
    write_bytes, write_double, write_fixed32, write_fixed64, write_key, write_key_value,
    write_nested, write_status, write_text, write_value, write_varint, write_varint_field,
};
pub use invalid::Invalid;
pub use limits::Limits;
pub use signal::Signal;
pub use span::{Event, Link, Span, SpanKind, Status, StatusCode};
pub use traces::{PlacedSpan, Resource, ResourceSpans, Scope, ScopeSpans, Traces};
pub use validate::{Summary, validate};
pub use value::{Value, Values};
