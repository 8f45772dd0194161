//! Spans that a plugin makes.

use spandrel_wire::{
    SpanKind, Status, write_bytes, write_fixed64, write_nested, write_status, write_text,
    write_varint_field,
};

use crate::value::{AttributeValue, write_attribute};

/// A span under construction. It is written as OTLP from the start: nothing is kept twice.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct NewSpan {
    bytes: Vec<u8>,
}

impl NewSpan {
    /// A span with its ids and name. Ids that are all zero are invalid in OTLP; nothing on the way
    /// checks them, so a backend may refuse the span.
    pub fn new(trace_id: [u8; 16], span_id: [u8; 8], name: &str) -> Self {
        let mut bytes = Vec::with_capacity(64 + name.len());
        write_bytes(&mut bytes, 1, &trace_id);
        write_bytes(&mut bytes, 2, &span_id);
        write_text(&mut bytes, 5, name);
        Self { bytes }
    }

    /// Without any field.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn empty() -> Self {
        Self { bytes: Vec::new() }
    }

    /// With the fields of another behind its own.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn followed_by(mut self, more: &Self) -> Self {
        self.bytes.extend_from_slice(&more.bytes);
        self
    }

    /// The span that this one is a part of.
    pub fn parent(mut self, span_id: [u8; 8]) -> Self {
        write_bytes(&mut self.bytes, 4, &span_id);
        self
    }

    /// The part that the span plays in a call.
    pub fn kind(mut self, kind: SpanKind) -> Self {
        write_varint_field(&mut self.bytes, 6, kind.number().into());
        self
    }

    /// Start and end in nanoseconds since the Unix epoch.
    pub fn times(mut self, start: u64, end: u64) -> Self {
        write_fixed64(&mut self.bytes, 7, start);
        write_fixed64(&mut self.bytes, 8, end);
        self
    }

    /// Adds an attribute.
    pub fn attribute(mut self, key: &str, value: impl AttributeValue) -> Self {
        write_attribute_field(&mut self.bytes, 9, key, &value);
        self
    }

    /// Adds an event without attributes.
    pub fn event(mut self, time: u64, name: &str) -> Self {
        write_nested(&mut self.bytes, 11, |out| {
            write_fixed64(out, 1, time);
            write_text(out, 2, name);
        });
        self
    }

    /// How the work ended.
    pub fn status(mut self, status: Status<'_>) -> Self {
        write_nested(&mut self.bytes, 15, |out| write_status(out, status));
        self
    }

    /// The serialized `Span` message.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// A resource under construction, with the spans that it sends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct NewResource {
    resource: Vec<u8>,
    /// `ScopeSpans` fields that are complete.
    scopes: Vec<u8>,
    /// The content of the `ScopeSpans` that spans go into.
    scope: Vec<u8>,
}

impl NewResource {
    /// A resource without attributes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an attribute to the resource.
    pub fn attribute(mut self, key: &str, value: impl AttributeValue) -> Self {
        write_attribute_field(&mut self.resource, 1, key, &value);
        self
    }

    /// Begins a scope: the spans that follow are of this library.
    pub fn scope(mut self, name: &str, version: &str) -> Self {
        self.end_scope();
        write_nested(&mut self.scope, 1, |out| {
            write_text(out, 1, name);
            write_text(out, 2, version);
        });
        self
    }

    /// Adds a span to the scope that was begun last.
    pub fn span(mut self, span: &NewSpan) -> Self {
        write_bytes(&mut self.scope, 2, &span.bytes);
        self
    }

    /// The serialized `ExportTraceServiceRequest` with this resource alone.
    pub fn into_request(self) -> Vec<u8> {
        let mut request = Vec::new();
        self.put(&mut request);
        request
    }

    /// Appends this resource to a request.
    pub(crate) fn put(mut self, request: &mut Vec<u8>) {
        self.end_scope();
        let mut resource_spans = Vec::with_capacity(16 + self.resource.len() + self.scopes.len());
        write_bytes(&mut resource_spans, 1, &self.resource);
        resource_spans.append(&mut self.scopes);
        write_bytes(request, 1, &resource_spans);
    }

    fn end_scope(&mut self) {
        if !self.scope.is_empty() {
            write_bytes(&mut self.scopes, 2, &self.scope);
            self.scope.clear();
        }
    }
}

fn write_attribute_field(out: &mut Vec<u8>, field: u32, key: &str, value: &impl AttributeValue) {
    write_nested(out, field, |out| write_attribute(out, key, value));
}
