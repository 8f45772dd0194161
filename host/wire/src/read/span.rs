//! Views of a span and its parts.

use core::time::Duration;

use crate::read::attributes::Attributes;
use crate::read::attributes::value::Value;
use crate::read::field::{Field, Fields, skip_field, text};

/// The part that a span plays in a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SpanKind {
    /// Not stated, or a kind that is newer than this library.
    #[default]
    Unspecified,
    /// Inside an application.
    Internal,
    /// Handles a request.
    Server,
    /// Makes a request.
    Client,
    /// Sends a message.
    Producer,
    /// Receives a message.
    Consumer,
}

impl SpanKind {
    /// Returns the number of this kind in OTLP.
    pub const fn number(self) -> u32 {
        match self {
            Self::Unspecified => 0,
            Self::Internal => 1,
            Self::Server => 2,
            Self::Client => 3,
            Self::Producer => 4,
            Self::Consumer => 5,
        }
    }

    /// Returns the kind that has this number in OTLP.
    pub const fn from_number(number: i32) -> Self {
        match number {
            1 => Self::Internal,
            2 => Self::Server,
            3 => Self::Client,
            4 => Self::Producer,
            5 => Self::Consumer,
            _ => Self::Unspecified,
        }
    }
}

/// The result of a span's work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum StatusCode {
    /// Not stated.
    #[default]
    Unset,
    /// Declared successful by the application's developer or operator.
    Ok,
    /// Failed.
    Error,
}

impl StatusCode {
    /// Returns the number of this code in OTLP.
    pub const fn number(self) -> u32 {
        match self {
            Self::Unset => 0,
            Self::Ok => 1,
            Self::Error => 2,
        }
    }

    const fn from_number(number: i32) -> Self {
        match number {
            1 => Self::Ok,
            2 => Self::Error,
            _ => Self::Unset,
        }
    }
}

/// The status of a span.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status<'a> {
    /// The code.
    pub code: StatusCode,
    /// The developer's description of it.
    pub message: &'a str,
}

/// A span, read in place. Nothing is read before it is asked for. If a field stands more than once,
/// the last one counts, as in every protobuf decoder.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Span<'a> {
    bytes: &'a [u8],
}

impl<'a> Span<'a> {
    /// Reads a serialized `Span`.
    #[inline]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// Returns the span as it is serialized.
    #[inline]
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Returns the id of the trace that it belongs to: 16 bytes, or none.
    #[inline]
    pub fn trace_id(&self) -> &'a [u8] {
        last_content(self.bytes, 1)
    }

    /// Returns its own id: 8 bytes, or none.
    #[inline]
    pub fn span_id(&self) -> &'a [u8] {
        last_content(self.bytes, 2)
    }

    /// Returns the `tracestate` of W3C, as it came.
    pub fn trace_state(&self) -> &'a str {
        self.last(3).map_or("", |field| field.text())
    }

    /// Returns the id of its parent: 8 bytes, or none.
    #[inline]
    pub fn parent_span_id(&self) -> &'a [u8] {
        last_content(self.bytes, 4)
    }

    /// Returns true if it has no parent.
    #[inline]
    pub fn is_root(&self) -> bool {
        self.parent_span_id().iter().all(|byte| *byte == 0)
    }

    /// Returns its name.
    #[inline]
    pub fn name(&self) -> &'a str {
        text(last_content(self.bytes, 5))
    }

    /// Returns the part that it plays in a call.
    pub fn kind(&self) -> SpanKind {
        SpanKind::from_number(self.last(6).map_or(0, |field| field.int32()))
    }

    /// Returns its start time, in nanoseconds since 1970.
    pub fn start_time_unix_nano(&self) -> u64 {
        self.last(7).map_or(0, |field| field.number())
    }

    /// Returns its end time, in nanoseconds since 1970.
    pub fn end_time_unix_nano(&self) -> u64 {
        self.last(8).map_or(0, |field| field.number())
    }

    /// Returns the time from its start to its end; zero if they are the wrong way round.
    pub fn duration(&self) -> Duration {
        let end = self.end_time_unix_nano();
        Duration::from_nanos(end.saturating_sub(self.start_time_unix_nano()))
    }

    /// Returns the flags of W3C in the low 8 bits, and OTLP's own above.
    pub fn flags(&self) -> u32 {
        self.last(16).map_or(0, |field| field.uint32())
    }

    /// Returns its attributes.
    #[inline]
    pub fn attributes(&self) -> Attributes<'a> {
        Attributes::new(self.bytes, 9)
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

    /// Returns the number of attributes that the sender left out.
    pub fn dropped_attributes_count(&self) -> u32 {
        self.last(10).map_or(0, |field| field.uint32())
    }

    /// Returns its events.
    pub fn events(&self) -> impl Iterator<Item = Event<'a>> + Clone + use<'a> {
        Fields::new(self.bytes)
            .filter_map(|field| field.message(11))
            .map(|bytes| Event { bytes })
    }

    /// Returns its links to other spans.
    pub fn links(&self) -> impl Iterator<Item = Link<'a>> + Clone + use<'a> {
        Fields::new(self.bytes)
            .filter_map(|field| field.message(13))
            .map(|bytes| Link { bytes })
    }

    /// Returns its status.
    pub fn status(&self) -> Status<'a> {
        let mut status = Status::default();
        for field in Fields::new(self.bytes)
            .filter_map(|field| field.message(15))
            .flat_map(Fields::new)
        {
            match field.number {
                2 => status.message = field.text(),
                3 => status.code = StatusCode::from_number(field.int32()),
                _ => {}
            }
        }
        status
    }

    /// Returns true if its status is error.
    pub fn is_error(&self) -> bool {
        self.status().code == StatusCode::Error
    }

    #[inline]
    fn last(&self, number: u32) -> Option<Field<'a>> {
        last(self.bytes, number)
    }
}

/// Something that happened at one moment of a span.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Event<'a> {
    bytes: &'a [u8],
}

impl<'a> Event<'a> {
    /// Reads a serialized `Event`.
    #[inline]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// Returns the event as it is serialized.
    #[inline]
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Returns its name.
    pub fn name(&self) -> &'a str {
        last(self.bytes, 2).map_or("", |field| field.text())
    }

    /// Returns its time, in nanoseconds since 1970.
    pub fn time_unix_nano(&self) -> u64 {
        last(self.bytes, 1).map_or(0, |field| field.number())
    }

    /// Returns its attributes.
    pub fn attributes(&self) -> Attributes<'a> {
        Attributes::new(self.bytes, 3)
    }

    /// Returns the number of attributes that the sender left out.
    pub fn dropped_attributes_count(&self) -> u32 {
        last(self.bytes, 4).map_or(0, |field| field.uint32())
    }

    /// Returns the value of its first attribute with this key.
    pub fn attribute(&self, key: &str) -> Option<Value<'a>> {
        self.attributes().get(key)
    }
}

/// A pointer to another span.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Link<'a> {
    bytes: &'a [u8],
}

impl<'a> Link<'a> {
    /// Reads a serialized `Link`.
    #[inline]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// Returns the link as it is serialized.
    #[inline]
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Returns the trace id of the other span.
    pub fn trace_id(&self) -> &'a [u8] {
        last(self.bytes, 1).map_or(&[], |field| field.bytes())
    }

    /// Returns the id of the other span.
    pub fn span_id(&self) -> &'a [u8] {
        last(self.bytes, 2).map_or(&[], |field| field.bytes())
    }

    /// Returns the `tracestate` of the other span, as it came.
    pub fn trace_state(&self) -> &'a str {
        last(self.bytes, 3).map_or("", |field| field.text())
    }

    /// Returns the flags of W3C in the low 8 bits, and OTLP's own above.
    pub fn flags(&self) -> u32 {
        last(self.bytes, 6).map_or(0, |field| field.uint32())
    }

    /// Returns the number of attributes that the sender left out.
    pub fn dropped_attributes_count(&self) -> u32 {
        last(self.bytes, 5).map_or(0, |field| field.uint32())
    }

    /// Returns its attributes.
    pub fn attributes(&self) -> Attributes<'a> {
        Attributes::new(self.bytes, 4)
    }

    /// Returns the value of its first attribute with this key.
    pub fn attribute(&self, key: &str) -> Option<Value<'a>> {
        self.attributes().get(key)
    }
}

/// Returns the last field with this number, which is the one that counts.
#[inline]
pub(crate) fn last(message: &[u8], number: u32) -> Option<Field<'_>> {
    let mut last: &[u8] = &[];
    let mut rest = message;
    while let Some(skipped) = skip_field(rest) {
        if skipped.key >> 3 == number {
            last = rest;
        }
        rest = skipped.rest;
    }
    Fields::new(last).next()
}

/// Returns the content of the last field with this number; empty if it is of another wire type.
#[inline]
fn last_content(message: &[u8], number: u32) -> &[u8] {
    let mut last: &[u8] = &[];
    let mut rest = message;
    while let Some(skipped) = skip_field(rest) {
        if skipped.key >> 3 == number {
            last = skipped.content;
        }
        rest = skipped.rest;
    }
    last
}
