//! Reads protobuf and OTLP in place: fields, attributes, and views of the spans of a request.

pub(crate) mod attributes;
pub(crate) mod field;
pub(crate) mod field_offsets;
pub(crate) mod signal;
pub(crate) mod span;
pub(crate) mod traces;
