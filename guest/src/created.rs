//! Spans that a plugin makes, from nothing or from a received span.

mod parts;
mod resource;

pub use parts::{NewEvent, NewLink};
pub use resource::NewResource;

use spandrel_wire::{
    Event, Link, Span, SpanKind, Status, retain_fields, write_bytes, write_fixed32, write_fixed64,
    write_nested, write_status, write_text, write_varint_field,
};

use crate::value::{AttributeValue, delete_attribute, write_attribute_field};

/// The number of a span's `attributes` field. The next ones are `events`, `links` and `status`.
const ATTRIBUTE: u32 = 9;
const EVENT: u32 = 11;
const LINK: u32 = 13;
const STATUS: u32 = 15;

/// A span under construction. It is written as OTLP from the start: nothing is stored twice.
///
/// A span made from a received one ([`Span::to_new`](crate::Span::to_new)) contains all of it,
/// including fields that this library does not know, until a setter changes something.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct NewSpan {
    bytes: Vec<u8>,
}

/// Copies the whole span.
impl From<Span<'_>> for NewSpan {
    fn from(span: Span<'_>) -> Self {
        let bytes = span.bytes().to_vec();
        Self { bytes }
    }
}

impl NewSpan {
    /// Makes a span with its ids and name. Ids that are all zero are invalid in OTLP. The collector
    /// does not check them, so a backend may refuse the span.
    pub fn new(trace_id: [u8; 16], span_id: [u8; 8], name: &str) -> Self {
        let mut bytes = Vec::with_capacity(64 + name.len());
        write_bytes(&mut bytes, 1, &trace_id);
        write_bytes(&mut bytes, 2, &span_id);
        write_text(&mut bytes, 5, name);
        Self { bytes }
    }

    /// Makes a span without any field.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn empty() -> Self {
        Self { bytes: Vec::new() }
    }

    /// Appends the fields of another span to its own.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn followed_by(mut self, more: &Self) -> Self {
        self.bytes.extend_from_slice(&more.bytes);
        self
    }

    /// Sets the name.
    pub fn name(self, name: &str) -> Self {
        self.set(5, |bytes| write_text(bytes, 5, name))
    }

    /// Sets the trace id and the span id.
    pub fn ids(self, trace_id: [u8; 16], span_id: [u8; 8]) -> Self {
        self.set(1, |bytes| write_bytes(bytes, 1, &trace_id))
            .set(2, |bytes| write_bytes(bytes, 2, &span_id))
    }

    /// Sets the parent span.
    pub fn parent(self, span_id: [u8; 8]) -> Self {
        self.set(4, |bytes| write_bytes(bytes, 4, &span_id))
    }

    /// Makes the span a root: a span without a parent.
    pub fn root(self) -> Self {
        self.set(4, |_| {})
    }

    /// Sets the W3C `tracestate`.
    pub fn trace_state(self, trace_state: &str) -> Self {
        self.set(3, |bytes| write_text(bytes, 3, trace_state))
    }

    /// Sets the flags: W3C flags in the low 8 bits, OTLP's own above.
    pub fn flags(self, flags: u32) -> Self {
        self.set(16, |bytes| write_fixed32(bytes, 16, flags))
    }

    /// Sets the kind: the role of the span in a call.
    pub fn kind(self, kind: SpanKind) -> Self {
        self.set(6, |bytes| {
            write_varint_field(bytes, 6, kind.number().into())
        })
    }

    /// Sets start and end, in nanoseconds since the Unix epoch.
    pub fn times(self, start: u64, end: u64) -> Self {
        self.set(7, |bytes| write_fixed64(bytes, 7, start))
            .set(8, |bytes| write_fixed64(bytes, 8, end))
    }

    /// Sets the status, including its message.
    pub fn status(self, status: Status<'_>) -> Self {
        self.set(STATUS, |bytes| {
            write_nested(bytes, STATUS, |out| write_status(out, status));
        })
    }

    /// Sets the message of the status; the code stays.
    pub fn status_message(self, message: &str) -> Self {
        let code = self.view().status().code;
        self.status(Status { code, message })
    }

    /// Sets an attribute. It replaces one with the same key.
    pub fn attribute(mut self, key: &str, value: impl AttributeValue) -> Self {
        delete_attribute(&mut self.bytes, ATTRIBUTE, key);
        write_attribute_field(&mut self.bytes, ATTRIBUTE, key, &value);
        self
    }

    /// Deletes an attribute, if it is there.
    pub fn delete_attribute(mut self, key: &str) -> Self {
        delete_attribute(&mut self.bytes, ATTRIBUTE, key);
        self
    }

    /// Adds an event without attributes.
    pub fn event(self, time: u64, name: &str) -> Self {
        self.add_event(&NewEvent::new(time, name))
    }

    /// Adds an event.
    pub fn add_event(mut self, event: &NewEvent) -> Self {
        write_bytes(&mut self.bytes, EVENT, event.bytes());
        self
    }

    /// Adds a link to another span.
    pub fn add_link(mut self, link: &NewLink) -> Self {
        write_bytes(&mut self.bytes, LINK, link.bytes());
        self
    }

    /// Replaces each event by the result of `change`, or removes it if `change` returns `None`. To
    /// keep an event as it is, return `Some(event.into())`.
    pub fn change_events(mut self, mut change: impl FnMut(Event<'_>) -> Option<NewEvent>) -> Self {
        let mut changed = Vec::new();
        retain_fields(&mut self.bytes, |number, content| {
            if number == EVENT
                && let Some(event) = change(Event::new(content))
            {
                write_bytes(&mut changed, EVENT, event.bytes());
            }
            number != EVENT
        });
        self.bytes.append(&mut changed);
        self
    }

    /// Changes the links in the same way as [`change_events`](Self::change_events) changes events.
    pub fn change_links(mut self, mut change: impl FnMut(Link<'_>) -> Option<NewLink>) -> Self {
        let mut changed = Vec::new();
        retain_fields(&mut self.bytes, |number, content| {
            if number == LINK
                && let Some(link) = change(Link::new(content))
            {
                write_bytes(&mut changed, LINK, link.bytes());
            }
            number != LINK
        });
        self.bytes.append(&mut changed);
        self
    }

    /// Returns a view of the span as it is now.
    pub fn view(&self) -> Span<'_> {
        Span::new(&self.bytes)
    }

    /// Returns the serialized `Span` message.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Removes the earlier value of a field, then writes the new one. Without the removal, decoders
    /// would merge the two.
    fn set(mut self, field: u32, write: impl FnOnce(&mut Vec<u8>)) -> Self {
        retain_fields(&mut self.bytes, |number, _| number != field);
        write(&mut self.bytes);
        self
    }
}
