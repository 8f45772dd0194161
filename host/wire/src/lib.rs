//! Reads and edits OTLP bytes in place.
//!
//! A batch is one serialized OTLP request and stays one: it is [validated](validate) once, read
//! through lazy [views](Traces), changed by copying its bytes around the places that change, and
//! never decoded into objects. Bytes that nobody asked to change leave as they came, unknown fields
//! included.
//!
//! The modules in the order of a batch's way, and for reading. Each uses only those before it:
//!
//! 1. `read`: fields, attributes and values; the views of spans ([`Traces`], [`Span`]), and
//!    [`Signal`].
//! 2. `write`: the same pieces in the other direction.
//! 3. `check`: [`validate`] accepts or refuses a whole request. [`remove_invalid_items`] saves the
//!    valid items of a request that has others.
//! 4. `edit`: a plugin's reply, [`Verdict`]s and [`Edits`]. [`splice()`] applies one reply to a
//!    batch. A [`Projection`] applies the replies of a chain of plugins, and an [`Assembler`]
//!    builds requests of [`HeldItems`].
//! 5. `cut`: requests are split [by trace](split_by_trace) and [by size](cut()), and
//!    [joined](merge).
//! 6. `response`: the answers to requests, [`PartialSuccess`].
//! 7. [`json`]: requests and answers in OTLP/JSON, to and from protobuf bytes.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod check;
mod cut;
mod edit;
pub mod json;
mod read;
mod response;
mod write;

pub use check::findings::Findings;
pub use check::invalid::Invalid;
pub use check::limits::Limits;
pub use check::valid_items::{InvalidUtf8, ValidItems, remove_invalid_items};
pub use check::validate::{Summary, validate};
pub use cut::by_size::{PartLimits, cut, split_by_size};
pub use cut::by_trace::{shard_of, single_trace_part, split_by_trace, split_traces};
pub use cut::join::{halving_point, merge};
pub use cut::part::Part;
pub use edit::assembler::Assembler;
pub use edit::bad_reply::BadReply;
pub use edit::edits::{Edits, Operation, check_item_edits};
pub use edit::held_items::HeldItems;
pub use edit::projection::{Projection, ReplyCounts};
pub use edit::reads::Reads;
pub use edit::splice::{Splice, splice};
pub use edit::verdict::{Rules, Verdict};
pub use read::attributes::value::{Value, Values};
pub use read::attributes::{Attribute, Attributes, Keys};
pub use read::field_offsets::FieldOffsets;
pub use read::signal::{Signal, count};
pub use read::span::{Event, Link, Span, SpanKind, Status, StatusCode};
pub use read::traces::{PlacedSpan, Resource, ResourceSpans, Scope, ScopeSpans, Traces};
pub use response::{GRPC_CODES, PartialSuccess};
pub use write::Output;
pub use write::fields::{
    retain_fields, write_bytes, write_double, write_fixed32, write_fixed64, write_key, write_text,
    write_varint, write_varint_field,
};
pub use write::nested::write_nested;
pub use write::values::{write_key_value, write_status, write_value};
