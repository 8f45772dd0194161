//! Reads and edits OTLP bytes in place.
//!
//! A batch is one serialized OTLP request and stays one: it is [validated](validate) once, read
//! through lazy [views](Traces), changed by copying its bytes around the places that change, and
//! never decoded into objects. Bytes that nobody asked to change leave as they came, unknown fields
//! included.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod assemble;
mod attributes;
mod bad_reply;
mod compose;
mod count;
mod cut;
mod edits;
mod encode;
mod field;
mod findings;
mod group;
mod held;
mod ids;
mod invalid;
mod keys;
mod limits;
mod mend;
mod middle;
mod outline;
mod place;
mod plan;
mod prefix;
mod project;
mod retain;
mod schema;
mod sift;
mod signal;
mod span;
mod splice;
mod split;
mod text;
mod traces;
mod validate;
mod value;
mod verdict;

pub use assemble::Assembler;
pub use attributes::{Attribute, Attributes};
pub use bad_reply::BadReply;
pub use compose::{Applied, Projection};
pub use count::count;
pub use cut::{Most, cut};
pub use edits::{Edits, Operation, check_item_edits};
pub use encode::{
    write_bytes, write_double, write_fixed32, write_fixed64, write_key, write_key_value,
    write_nested, write_status, write_text, write_value, write_varint, write_varint_field,
};
pub use findings::Findings;
pub use held::Held;
pub use invalid::Invalid;
pub use keys::Keys;
pub use limits::Limits;
pub use middle::middle;
pub use outline::Outline;
pub use project::Reads;
pub use retain::retain_fields;
pub use sift::{InvalidUtf8, Sifted, sift};
pub use signal::Signal;
pub use span::{Event, Link, Span, SpanKind, Status, StatusCode};
pub use splice::{Kept, Rules, Spliced, splice};
pub use split::{
    Part, merge, shard_of, single_trace_part, split_by_size, split_by_trace, split_traces,
};
pub use traces::{PlacedSpan, Resource, ResourceSpans, Scope, ScopeSpans, Traces};
pub use validate::{Summary, validate};
pub use value::{Value, Values};
pub use verdict::Verdict;
