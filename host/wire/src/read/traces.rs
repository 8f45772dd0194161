//! Views of a request of spans.
//!
//! ```text
//! Traces
//! └── ResourceSpans           (one for each process that sent spans)
//!     ├── Resource            attributes
//!     ├── schema URL
//!     └── ScopeSpans          (one for each library that made spans)
//!         ├── Scope           name, version, attributes
//!         ├── schema URL
//!         └── Span            ids, name, kind, times, attributes, status
//!             ├── Event       time, name, attributes
//!             └── Link        ids, attributes
//! ```
//!
//! Views borrow the request, are `Copy`, and read a field when it is asked for. They are made for
//! valid requests and harmless on others: malformed bytes end an iteration early.

use crate::read::attributes::Attributes;
use crate::read::attributes::value::Value;
use crate::read::field::Fields;
use crate::read::span::{Span, last};

/// A request of spans.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Traces<'a> {
    request: &'a [u8],
}

impl<'a> Traces<'a> {
    /// Reads a serialized `ExportTraceServiceRequest`.
    #[inline]
    pub const fn new(request: &'a [u8]) -> Self {
        Self { request }
    }

    /// Returns the spans of each resource.
    pub fn resource_spans(&self) -> impl Iterator<Item = ResourceSpans<'a>> + Clone + use<'a> {
        Fields::new(self.request)
            .filter_map(|field| field.message(1))
            .map(ResourceSpans::new)
    }

    /// Returns every span in batch order, with its place. Verdicts and edits count in this order.
    pub fn spans(&self) -> impl Iterator<Item = PlacedSpan<'a>> + Clone + use<'a> {
        Spans {
            request: Fields::new(self.request),
            resources: Fields::default(),
            scopes: Fields::default(),
            resource: ResourceSpans::new(&[]),
            scope: ScopeSpans::new(&[]),
            next_resource: 0,
            next_scope: 0,
            next_index: 0,
        }
    }
}

/// A span and its place in its request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PlacedSpan<'a> {
    /// The number of the span in its request.
    pub index: u32,
    /// The number of its `ResourceSpans` in the request.
    pub resource_index: u32,
    /// The number of its `ScopeSpans` in the request, counted through all resources.
    pub scope_index: u32,
    /// The spans of its resource.
    pub resource_spans: ResourceSpans<'a>,
    /// The spans of its scope.
    pub scope_spans: ScopeSpans<'a>,
    /// The span.
    pub span: Span<'a>,
}

#[derive(Clone, Debug)]
struct Spans<'a> {
    request: Fields<'a>,
    resources: Fields<'a>,
    scopes: Fields<'a>,
    resource: ResourceSpans<'a>,
    scope: ScopeSpans<'a>,
    next_resource: u32,
    next_scope: u32,
    next_index: u32,
}

impl<'a> Iterator for Spans<'a> {
    type Item = PlacedSpan<'a>;

    #[inline]
    fn next(&mut self) -> Option<PlacedSpan<'a>> {
        loop {
            if let Some(span) = self.scopes.message(2) {
                let index = self.next_index;
                self.next_index = index.wrapping_add(1);
                return Some(PlacedSpan {
                    index,
                    resource_index: self.next_resource.wrapping_sub(1),
                    scope_index: self.next_scope.wrapping_sub(1),
                    resource_spans: self.resource,
                    scope_spans: self.scope,
                    span: Span::new(span),
                });
            }
            if let Some(scope) = self.resources.message(2) {
                self.scope = ScopeSpans::new(scope);
                self.scopes = Fields::new(scope);
                self.next_scope = self.next_scope.wrapping_add(1);
                continue;
            }
            let resource = self.request.message(1)?;
            self.resource = ResourceSpans::new(resource);
            self.resources = Fields::new(resource);
            self.next_resource = self.next_resource.wrapping_add(1);
        }
    }
}

/// The spans of one resource.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ResourceSpans<'a> {
    bytes: &'a [u8],
    resource: Pieces<'a>,
}

impl<'a> ResourceSpans<'a> {
    /// Reads a serialized `ResourceSpans`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            resource: Pieces::new(bytes),
        }
    }

    /// Returns the resource that made the spans.
    #[inline]
    pub const fn resource(&self) -> Resource<'a> {
        Resource(self.resource)
    }

    /// Returns the spans of each of its scopes.
    pub fn scope_spans(&self) -> impl Iterator<Item = ScopeSpans<'a>> + Clone + use<'a> {
        Fields::new(self.bytes)
            .filter_map(|field| field.message(2))
            .map(ScopeSpans::new)
    }

    /// Returns the URL of the schema that the resource follows.
    pub fn schema_url(&self) -> &'a str {
        last(self.bytes, 3).map_or("", |field| field.text())
    }
}

/// The spans of one instrumentation scope.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScopeSpans<'a> {
    bytes: &'a [u8],
    scope: Pieces<'a>,
}

impl<'a> ScopeSpans<'a> {
    /// Reads a serialized `ScopeSpans`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            scope: Pieces::new(bytes),
        }
    }

    /// Returns the library that made the spans.
    #[inline]
    pub const fn scope(&self) -> Scope<'a> {
        Scope(self.scope)
    }

    /// Returns the spans.
    pub fn spans(&self) -> impl Iterator<Item = Span<'a>> + Clone + use<'a> {
        Fields::new(self.bytes)
            .filter_map(|field| field.message(2))
            .map(Span::new)
    }

    /// Returns the URL of the schema that scope and spans follow.
    pub fn schema_url(&self) -> &'a str {
        last(self.bytes, 3).map_or("", |field| field.text())
    }
}

/// The resource that made spans: a process, a host, a service.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Resource<'a>(Pieces<'a>);

impl<'a> Resource<'a> {
    /// Returns its attributes.
    #[inline]
    pub fn attributes(&self) -> Attributes<'a> {
        Attributes::in_pieces(self.0.first, 1, self.0.more, 1)
    }

    /// Returns the value of its first attribute with this key.
    #[inline]
    pub fn attribute(&self, key: &str) -> Option<Value<'a>> {
        self.attributes().get(key)
    }

    /// Returns the same value if it is a text.
    #[inline]
    pub fn attribute_str(&self, key: &str) -> Option<&'a str> {
        self.attribute(key).and_then(Value::as_str)
    }

    /// Returns its `service.name`.
    pub fn service_name(&self) -> Option<&'a str> {
        self.attribute_str("service.name")
    }
}

/// A library that makes spans.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scope<'a>(Pieces<'a>);

impl<'a> Scope<'a> {
    /// Returns its name.
    pub fn name(&self) -> &'a str {
        self.0.last_text(1)
    }

    /// Returns its version.
    pub fn version(&self) -> &'a str {
        self.0.last_text(2)
    }

    /// Returns its attributes.
    #[inline]
    pub fn attributes(&self) -> Attributes<'a> {
        Attributes::in_pieces(self.0.first, 3, self.0.more, 1)
    }

    /// Returns the value of its first attribute with this key.
    #[inline]
    pub fn attribute(&self, key: &str) -> Option<Value<'a>> {
        self.attributes().get(key)
    }

    /// Returns the same value if it is a text.
    #[inline]
    pub fn attribute_str(&self, key: &str) -> Option<&'a str> {
        self.attribute(key).and_then(Value::as_str)
    }
}

/// A message in field 1 of its parent. Protobuf lets it stand in several pieces, which decoders
/// merge. Then `more` is the parent's bytes behind the first piece; otherwise it is empty.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Pieces<'a> {
    first: &'a [u8],
    more: &'a [u8],
}

impl<'a> Pieces<'a> {
    fn new(parent: &'a [u8]) -> Self {
        let mut fields = Fields::new(parent);
        let first = fields.message(1).unwrap_or_default();
        let more = fields.rest();
        let pieces = fields.message(1).is_some();
        Self {
            first,
            more: if pieces { more } else { &[] },
        }
    }

    fn last_text(&self, number: u32) -> &'a str {
        let more = Fields::new(self.more).filter_map(|field| field.message(1));
        core::iter::once(self.first)
            .chain(more)
            .flat_map(Fields::new)
            .filter(|field| field.number == number)
            .last()
            .map_or("", |field| field.text())
    }
}
