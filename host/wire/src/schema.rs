//! The shape of OTLP requests, as data for the validator.

use crate::ids;
use crate::signal::Signal;

/// What a field with a given number must be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// Not known to this version: any wire type.
    Unknown,
    /// An integer or enum.
    Varint,
    Fixed64,
    Fixed32,
    Text,
    Bytes,
    /// Bytes: none, or as many as this.
    Id(usize),
    /// An id in a span, of so many bytes; with the bit of [`ids`] if the span must have it.
    IdInSpan {
        len: usize,
        needed: u8,
    },
    /// A message.
    Message(&'static Shape),
    /// A span, whose ids are looked at.
    Span,
    /// An attribute: a message, and the one that is most of every request.
    Attribute,
    /// A list of strings.
    TextList,
    /// A list of `fixed64` or `double`, packed or not.
    Fixed64List,
    /// A list of varints, packed or not.
    VarintList,
}

/// What a message adds to the summary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counts {
    Nothing,
    Resource,
    Scope,
    Item,
    /// The data points of a metric.
    Points,
    /// One level of nesting.
    Level,
}

/// The shape of a message.
#[derive(Debug)]
pub(crate) struct Shape {
    /// Its name in errors.
    pub(crate) what: &'static str,
    /// What one more of it takes in memory once decoded, without what it points to: the size of the
    /// struct that prost makes for it; 0 where that struct is part of its parent.
    pub(crate) size: usize,
    pub(crate) counts: Counts,
    /// Kinds by field number; numbers past the end are unknown.
    pub(crate) fields: &'static [Kind],
    /// The number of the field with its attributes.
    pub(crate) attribute: u32,
}

/// The shape of the requests of a signal.
pub(crate) fn request(signal: Signal) -> &'static Shape {
    match signal {
        Signal::Traces => &TRACES,
        Signal::Metrics => &METRICS,
        Signal::Logs => &LOGS,
    }
}

use Kind::{
    Attribute, Bytes, Fixed32, Fixed64, Fixed64List, Id, IdInSpan, Message, Text, TextList,
    Unknown, Varint, VarintList,
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

/// The number of the field with attributes among these.
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
        // The parent's. Roots have none, and some exporters send zeros for it.
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

// === Metrics ===

static METRICS: Shape = shape("request", 0, &[Unknown, Message(&RESOURCE_METRICS)]);
static RESOURCE_METRICS: Shape = shape(
    "resource metrics",
    104,
    &[Unknown, Message(&RESOURCE), Message(&SCOPE_METRICS), Text],
)
.counts(Counts::Resource);
static SCOPE_METRICS: Shape = shape(
    "scope metrics",
    128,
    &[Unknown, Message(&SCOPE), Message(&METRIC), Text],
)
.counts(Counts::Scope);
static METRIC: Shape = shape(
    "metric",
    136,
    &[
        Unknown,
        Text,
        Text,
        Text,
        Unknown,
        Message(&GAUGE),
        Unknown,
        Message(&SUM),
        Unknown,
        Message(&HISTOGRAM),
        Message(&EXPONENTIAL_HISTOGRAM),
        Message(&SUMMARY),
        Attribute,
    ],
)
.counts(Counts::Points);
static GAUGE: Shape = shape("gauge", 0, &[Unknown, Message(&NUMBER_POINT)]);
static SUM: Shape = shape("sum", 0, &[Unknown, Message(&NUMBER_POINT), Varint, Varint]);
static HISTOGRAM: Shape = shape(
    "histogram",
    0,
    &[Unknown, Message(&HISTOGRAM_POINT), Varint],
);
static EXPONENTIAL_HISTOGRAM: Shape = shape(
    "exponential histogram",
    0,
    &[Unknown, Message(&EXPONENTIAL_POINT), Varint],
);
static SUMMARY: Shape = shape("summary", 0, &[Unknown, Message(&SUMMARY_POINT)]);
static NUMBER_POINT: Shape = shape(
    "number data point",
    88,
    &[
        Unknown,
        Unknown,
        Fixed64,
        Fixed64,
        Fixed64,
        Message(&EXEMPLAR),
        Fixed64,
        Attribute,
        Varint,
    ],
);
static HISTOGRAM_POINT: Shape = shape(
    "histogram data point",
    176,
    &[
        Unknown,
        Unknown,
        Fixed64,
        Fixed64,
        Fixed64,
        Fixed64,
        Fixed64List,
        Fixed64List,
        Message(&EXEMPLAR),
        Attribute,
        Varint,
        Fixed64,
        Fixed64,
    ],
);
static EXPONENTIAL_POINT: Shape = shape(
    "exponential histogram data point",
    208,
    &[
        Unknown,
        Attribute,
        Fixed64,
        Fixed64,
        Fixed64,
        Fixed64,
        Varint,
        Fixed64,
        Message(&BUCKETS),
        Message(&BUCKETS),
        Varint,
        Message(&EXEMPLAR),
        Fixed64,
        Fixed64,
        Fixed64,
    ],
);
static BUCKETS: Shape = shape("buckets", 0, &[Unknown, Varint, VarintList]);
static SUMMARY_POINT: Shape = shape(
    "summary data point",
    88,
    &[
        Unknown,
        Unknown,
        Fixed64,
        Fixed64,
        Fixed64,
        Fixed64,
        Message(&QUANTILE),
        Attribute,
        Varint,
    ],
);
static QUANTILE: Shape = shape("quantile", 16, &[Unknown, Fixed64, Fixed64]);
static EXEMPLAR: Shape = shape(
    "exemplar",
    96,
    &[
        Unknown, Unknown, Fixed64, Fixed64, SPAN_ID, TRACE_ID, Fixed64, Attribute,
    ],
);

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
static LOG_RECORD: Shape = shape(
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
