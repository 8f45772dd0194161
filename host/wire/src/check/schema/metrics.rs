//! The shape of metrics.

use super::Kind::{Attribute, Fixed64, Fixed64List, Message, Text, Unknown, Varint, VarintList};
use super::{Counts, RESOURCE, SCOPE, SPAN_ID, Shape, TRACE_ID, shape};

pub(super) static METRICS: Shape = shape("request", 0, &[Unknown, Message(&RESOURCE_METRICS)]);
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
pub(crate) static METRIC: Shape = shape(
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
static GAUGE: Shape = shape("gauge", 0, &[Unknown, Message(&NUMBER_POINT)]).counts(Counts::Data);
static SUM: Shape =
    shape("sum", 0, &[Unknown, Message(&NUMBER_POINT), Varint, Varint]).counts(Counts::Data);
static HISTOGRAM: Shape = shape(
    "histogram",
    0,
    &[Unknown, Message(&HISTOGRAM_POINT), Varint],
)
.counts(Counts::Data);
static EXPONENTIAL_HISTOGRAM: Shape = shape(
    "exponential histogram",
    0,
    &[Unknown, Message(&EXPONENTIAL_POINT), Varint],
)
.counts(Counts::Data);
static SUMMARY: Shape =
    shape("summary", 0, &[Unknown, Message(&SUMMARY_POINT)]).counts(Counts::Data);
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
)
.counts(Counts::Point);
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
)
.counts(Counts::Point);
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
)
.counts(Counts::Point);
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
)
.counts(Counts::Point);
static QUANTILE: Shape = shape("quantile", 16, &[Unknown, Fixed64, Fixed64]);
static EXEMPLAR: Shape = shape(
    "exemplar",
    96,
    &[
        Unknown, Unknown, Fixed64, Fixed64, SPAN_ID, TRACE_ID, Fixed64, Attribute,
    ],
);
