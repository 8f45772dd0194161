//! The shape of OTLP requests, as data for the validator.

use crate::check::ids;
use crate::read::signal::Signal;

/// The kind that a field with a given number must have.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// Not known to this version: any wire type is allowed.
    Unknown,
    /// An integer or enum.
    Varint,
    Fixed64,
    Fixed32,
    Text,
    Bytes,
    /// An id: no bytes, or this many.
    Id(usize),
    /// An id in a span, of `len` bytes; `needed` is its bit of [`ids`] if the span must have it.
    IdInSpan {
        len: usize,
        needed: u8,
    },
    /// A message.
    Message(&'static Shape),
    /// A span, whose ids are checked.
    Span,
    /// An attribute: a message, which is most of every request.
    Attribute,
    /// A list of strings.
    TextList,
    /// A list of `fixed64` or `double`, packed or not.
    Fixed64List,
    /// A list of varints, packed or not.
    VarintList,
}

/// The unit that a message adds to the summary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counts {
    Nothing,
    Resource,
    Scope,
    Item,
    /// The data points of a metric.
    Points,
    /// Nothing: the message in which a metric has its points.
    Data,
    /// Nothing: a data point, which its metric has counted.
    Point,
    /// One level of nesting.
    Level,
}

/// The shape of a message.
#[derive(Debug)]
pub(crate) struct Shape {
    /// Its name in errors.
    pub(crate) what: &'static str,
    /// The bytes that one more of it takes in memory once decoded, without what it points to: the
    /// size of the struct that prost makes for it; 0 if that struct is part of its parent.
    pub(crate) size: usize,
    pub(crate) counts: Counts,
    /// Kinds by field number; numbers past the end are unknown.
    pub(crate) fields: &'static [Kind],
    /// The number of the field with its attributes.
    pub(crate) attribute: u32,
}

/// Returns the shape of the requests of a signal.
pub(crate) fn request(signal: Signal) -> &'static Shape {
    match signal {
        Signal::Traces => &TRACES,
        Signal::Metrics => &metrics::METRICS,
        Signal::Logs => &LOGS,
    }
}

pub(crate) mod metrics;

use Kind::{
    Attribute, Bytes, Fixed32, Fixed64, Id, IdInSpan, Message, Text, TextList, Unknown, Varint,
};

const TRACE_ID: Kind = Id(16);
const SPAN_ID: Kind = Id(8);

const fn trace_id_in_span(needed: u8) -> Kind {
    IdInSpan { len: 16, needed }
}

const fn span_id_in_span(needed: u8) -> Kind {
    IdInSpan { len: 8, needed }
}

const fn shape(what: &'static str, size: usize, fields: &'static [Kind]) -> Shape {
    Shape {
        what,
        size,
        counts: Counts::Nothing,
        fields,
        attribute: attribute(fields),
    }
}

/// Returns the number of the field with attributes among these.
const fn attribute(fields: &[Kind]) -> u32 {
    let mut number = 0;
    let mut rest = fields;
    while let [kind, after @ ..] = rest {
        if matches!(kind, Attribute) {
            return number;
        }
        number += 1;
        rest = after;
    }
    // No field has this number.
    u32::MAX >> 3
}

impl Shape {
    /// Returns the shape of the messages in the field with this number.
    pub(crate) fn inner(&self, number: u32) -> Option<&'static Self> {
        match self.fields.get(usize::try_from(number).ok()?)? {
            Message(inner) => Some(inner),
            Kind::Span => Some(&SPAN),
            Attribute => Some(&KEY_VALUE),
            _ => None,
        }
    }

    /// Returns the same shape if the messages are items, or have items in them.
    pub(crate) fn member(&self, number: u32) -> Option<&'static Self> {
        let inner = self.inner(number)?;
        let parts = matches!(inner.counts, Counts::Nothing | Counts::Level);
        (!parts).then_some(inner)
    }

    const fn counts(mut self, counts: Counts) -> Self {
        self.counts = counts;
        self
    }
}

// === Common ===

static VALUE_FIELDS: [Kind; 9] = [
    Unknown,
    Text,
    Varint,
    Varint,
    Fixed64,
    Message(&ARRAY),
    Message(&KEY_VALUES),
    Bytes,
    Varint,
];
/// A value in a list.
static ELEMENT: Shape = shape("value", 32, &VALUE_FIELDS).counts(Counts::Level);
/// A value that is part of its parent.
static VALUE: Shape = shape("value", 0, &VALUE_FIELDS).counts(Counts::Level);
static ARRAY: Shape = shape("array", 0, &[Unknown, Message(&ELEMENT)]);
static KEY_VALUES: Shape = shape("key-value list", 0, &[Unknown, Attribute]);
pub(crate) static KEY_VALUE: Shape =
    shape("attribute", 64, &[Unknown, Text, Message(&VALUE), Varint]);
static RESOURCE: Shape = shape(
    "resource",
    0,
    &[Unknown, Attribute, Varint, Message(&ENTITY_REF)],
);
static ENTITY_REF: Shape = shape(
    "entity reference",
    96,
    &[Unknown, Text, Text, TextList, TextList],
);
static SCOPE: Shape = shape("scope", 0, &[Unknown, Text, Text, Attribute, Varint]);

// === Traces ===

static TRACES: Shape = shape("request", 0, &[Unknown, Message(&RESOURCE_SPANS)]);
static RESOURCE_SPANS: Shape = shape(
    "resource spans",
    104,
    &[Unknown, Message(&RESOURCE), Message(&SCOPE_SPANS), Text],
)
.counts(Counts::Resource);
static SCOPE_SPANS: Shape = shape(
    "scope spans",
    128,
    &[Unknown, Message(&SCOPE), Kind::Span, Text],
)
.counts(Counts::Scope);
pub(crate) static SPAN: Shape = shape(
    "span",
    264,
    &[
        Unknown,
        trace_id_in_span(ids::TRACE_ID),
        span_id_in_span(ids::SPAN_ID),
        Text,
        // This is the parent's id. Roots have none, and some exporters send zeros for it.
        span_id_in_span(0),
        Text,
        Varint,
        Fixed64,
        Fixed64,
        Attribute,
        Varint,
        Message(&EVENT),
        Varint,
        Message(&LINK),
        Varint,
        Message(&STATUS),
        Fixed32,
    ],
)
.counts(Counts::Item);
static EVENT: Shape = shape("event", 64, &[Unknown, Fixed64, Text, Attribute, Varint]);
static LINK: Shape = shape(
    "link",
    104,
    &[
        Unknown,
        trace_id_in_span(0),
        span_id_in_span(0),
        Text,
        Attribute,
        Varint,
        Fixed32,
    ],
);
pub(crate) static STATUS: Shape = shape("status", 0, &[Unknown, Unknown, Text, Varint]);

// === Logs ===

static LOGS: Shape = shape("request", 0, &[Unknown, Message(&RESOURCE_LOGS)]);
static RESOURCE_LOGS: Shape = shape(
    "resource logs",
    104,
    &[Unknown, Message(&RESOURCE), Message(&SCOPE_LOGS), Text],
)
.counts(Counts::Resource);
static SCOPE_LOGS: Shape = shape(
    "scope logs",
    128,
    &[Unknown, Message(&SCOPE), Message(&LOG_RECORD), Text],
)
.counts(Counts::Scope);
pub(crate) static LOG_RECORD: Shape = shape(
    "log record",
    184,
    &[
        Unknown,
        Fixed64,
        Varint,
        Text,
        Unknown,
        Message(&VALUE),
        Attribute,
        Varint,
        Fixed32,
        TRACE_ID,
        SPAN_ID,
        Fixed64,
        Text,
    ],
)
.counts(Counts::Item);
