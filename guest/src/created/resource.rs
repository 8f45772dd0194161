//! Resources that a plugin makes, with their spans.

use spandrel_wire::{write_bytes, write_nested, write_text};

use super::NewSpan;
use crate::value::{AttributeValue, write_attribute_field};

/// A resource under construction, with its spans.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct NewResource {
    resource: Vec<u8>,
    /// The complete `ScopeSpans` fields.
    scopes: Vec<u8>,
    /// The content of the `ScopeSpans` that new spans are added to.
    scope: Vec<u8>,
}

impl NewResource {
    /// Makes a resource without attributes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an attribute to the resource.
    pub fn attribute(mut self, key: &str, value: impl AttributeValue) -> Self {
        write_attribute_field(&mut self.resource, 1, key, &value);
        self
    }

    /// Begins a scope: the spans that follow belong to this library.
    pub fn scope(mut self, name: &str, version: &str) -> Self {
        self.end_scope();
        write_nested(&mut self.scope, 1, |out| {
            write_text(out, 1, name);
            write_text(out, 2, version);
        });
        self
    }

    /// Adds a span to the latest scope.
    pub fn span(mut self, span: &NewSpan) -> Self {
        write_bytes(&mut self.scope, 2, span.bytes());
        self
    }

    /// Returns the serialized `ExportTraceServiceRequest` with this resource alone.
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
