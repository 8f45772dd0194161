//! The Rust SDK for Spandrel plugins.
#![cfg_attr(doctest, doc = include_str!("../README.md"))]

mod batch;
#[doc(hidden)]
pub mod bindings;
mod config;
mod created;
pub mod duration;
mod edits;
mod emission;
#[doc(hidden)]
pub mod exported;
mod glob;
mod held;
pub mod host;
mod plugin;
mod resource;
mod span;
mod span_edits;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;
mod value;

pub use batch::{Batch, Prepared};
pub use created::{NewResource, NewSpan};
pub use emission::emit;
pub use glob::Glob;
pub use held::Held;
pub use host::{count, gauge, log, monotonic, now, random};
pub use plugin::{Dispatch, DrainReason, Manifest, Plugin, Reason};
pub use resource::{Resource, Scope};
pub use span::Span;
pub use span_edits::SpanEdits;
pub use spandrel_wire::{
    Attribute, Attributes, Event, Link, SpanKind, Status, StatusCode, Value, Values,
};
pub use value::AttributeValue;

/// The views that [`Span`], [`Resource`] and [`Scope`] read like.
pub mod wire {
    pub use spandrel_wire::{Resource, Scope, Span, Traces};
}

/// Everything that most plugins need.
pub mod prelude {
    pub use serde::Deserialize;
    pub use std::time::Duration;

    pub use crate::{
        AttributeValue, Batch, Dispatch, DrainReason, Glob, Held, Manifest, NewResource, NewSpan,
        Plugin, Prepared, Reason, Resource, Scope, Span, SpanEdits, SpanKind, Status, StatusCode,
        Value, debug, emit, error, export, info, trace, warn,
    };
}
