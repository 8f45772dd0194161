//! Events and links of spans that a plugin makes.

use spandrel_wire::{
    Event, Link, retain_fields, write_bytes, write_fixed32, write_fixed64, write_text,
};

use crate::value::{AttributeValue, delete_attribute, write_attribute_field};

/// An event under construction, from nothing or as a copy of a received one.
///
/// ```
/// # use spandrel_guest::{Event, NewEvent};
/// fn without_stack_trace(event: Event<'_>) -> NewEvent {
///     NewEvent::from(event).delete_attribute("exception.stacktrace")
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct NewEvent {
    bytes: Vec<u8>,
}

/// The number of an event's `attributes` field.
const EVENT_ATTRIBUTE: u32 = 3;

/// Copies the whole event.
impl From<Event<'_>> for NewEvent {
    fn from(event: Event<'_>) -> Self {
        let bytes = event.bytes().to_vec();
        Self { bytes }
    }
}

impl NewEvent {
    /// Makes an event at this time, in nanoseconds since the Unix epoch.
    pub fn new(time: u64, name: &str) -> Self {
        let mut bytes = Vec::with_capacity(16 + name.len());
        write_fixed64(&mut bytes, 1, time);
        write_text(&mut bytes, 2, name);
        Self { bytes }
    }

    /// Sets its time, in nanoseconds since the Unix epoch.
    pub fn time(mut self, time: u64) -> Self {
        retain_fields(&mut self.bytes, |number, _| number != 1);
        write_fixed64(&mut self.bytes, 1, time);
        self
    }

    /// Sets its name.
    pub fn name(mut self, name: &str) -> Self {
        retain_fields(&mut self.bytes, |number, _| number != 2);
        write_text(&mut self.bytes, 2, name);
        self
    }

    /// Sets an attribute. It replaces one with the same key.
    pub fn attribute(mut self, key: &str, value: impl AttributeValue) -> Self {
        delete_attribute(&mut self.bytes, EVENT_ATTRIBUTE, key);
        write_attribute_field(&mut self.bytes, EVENT_ATTRIBUTE, key, &value);
        self
    }

    /// Deletes an attribute, if it is there.
    pub fn delete_attribute(mut self, key: &str) -> Self {
        delete_attribute(&mut self.bytes, EVENT_ATTRIBUTE, key);
        self
    }

    /// Returns the serialized `Event` message.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// A link to another span under construction, from nothing or as a copy of a received one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct NewLink {
    bytes: Vec<u8>,
}

/// The number of a link's `attributes` field.
const LINK_ATTRIBUTE: u32 = 4;

/// Copies the whole link.
impl From<Link<'_>> for NewLink {
    fn from(link: Link<'_>) -> Self {
        let bytes = link.bytes().to_vec();
        Self { bytes }
    }
}

impl NewLink {
    /// Makes a link to this span.
    pub fn new(trace_id: [u8; 16], span_id: [u8; 8]) -> Self {
        let mut bytes = Vec::with_capacity(32);
        write_bytes(&mut bytes, 1, &trace_id);
        write_bytes(&mut bytes, 2, &span_id);
        Self { bytes }
    }

    /// Sets the `tracestate` of the other span.
    pub fn trace_state(mut self, trace_state: &str) -> Self {
        retain_fields(&mut self.bytes, |number, _| number != 3);
        write_text(&mut self.bytes, 3, trace_state);
        self
    }

    /// Sets the flags: W3C flags in the low 8 bits, OTLP's own above.
    pub fn flags(mut self, flags: u32) -> Self {
        retain_fields(&mut self.bytes, |number, _| number != 6);
        write_fixed32(&mut self.bytes, 6, flags);
        self
    }

    /// Sets an attribute. It replaces one with the same key.
    pub fn attribute(mut self, key: &str, value: impl AttributeValue) -> Self {
        delete_attribute(&mut self.bytes, LINK_ATTRIBUTE, key);
        write_attribute_field(&mut self.bytes, LINK_ATTRIBUTE, key, &value);
        self
    }

    /// Deletes an attribute, if it is there.
    pub fn delete_attribute(mut self, key: &str) -> Self {
        delete_attribute(&mut self.bytes, LINK_ATTRIBUTE, key);
        self
    }

    /// Returns the serialized `Link` message.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}
