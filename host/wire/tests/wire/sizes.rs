//! The estimate of decoded sizes follows what decoding really takes.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, EntityRef, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::summary_data_point::ValueAtQuantile;
use opentelemetry_proto::tonic::metrics::v1::{
    Exemplar, ExponentialHistogramDataPoint, HistogramDataPoint, Metric, NumberDataPoint,
    ResourceMetrics, ScopeMetrics, SummaryDataPoint,
};
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use spandrel_wire::{Invalid, Limits, Signal, validate};

/// Returns the estimated size of a request that has `path` of nested message fields.
fn estimate(signal: Signal, path: &[u8]) -> usize {
    let request = path.iter().rev().fold(Vec::new(), |inside, field| {
        let len = u8::try_from(inside.len()).unwrap();
        [&[field << 3 | 2, len], &inside[..]].concat()
    });
    validate(signal, &request, &Limits::default())
        .unwrap()
        .decoded_bytes
}

/// One more message of each kind is estimated at the size of its struct.
#[test]
fn sizes_are_those_of_the_structs() {
    let added = |signal, path: &[u8]| {
        let (_, parent) = path.split_last().unwrap();
        estimate(signal, path) - estimate(signal, parent)
    };
    for (path, size) in [
        (&[1][..], size_of::<ResourceSpans>()),
        (&[1, 1, 1], size_of::<KeyValue>()),
        (&[1, 1, 3], size_of::<EntityRef>()),
        (&[1, 2], size_of::<ScopeSpans>()),
        (&[1, 2, 2], size_of::<Span>()),
        (&[1, 2, 2, 9], size_of::<KeyValue>()),
        (&[1, 2, 2, 9, 2, 5, 1], size_of::<AnyValue>()),
        (&[1, 2, 2, 11], size_of::<Event>()),
        (&[1, 2, 2, 13], size_of::<Link>()),
        (&[1, 2, 2, 15], 0),
    ] {
        assert_eq!(added(Signal::Traces, path), size, "{path:?}");
    }
    for (path, size) in [
        (&[1][..], size_of::<ResourceMetrics>()),
        (&[1, 2], size_of::<ScopeMetrics>()),
        (&[1, 2, 2], size_of::<Metric>()),
        (&[1, 2, 2, 5, 1], size_of::<NumberDataPoint>()),
        (&[1, 2, 2, 7, 1], size_of::<NumberDataPoint>()),
        (&[1, 2, 2, 9, 1], size_of::<HistogramDataPoint>()),
        (
            &[1, 2, 2, 10, 1],
            size_of::<ExponentialHistogramDataPoint>(),
        ),
        (&[1, 2, 2, 11, 1], size_of::<SummaryDataPoint>()),
        (&[1, 2, 2, 11, 1, 6], size_of::<ValueAtQuantile>()),
        (&[1, 2, 2, 5, 1, 5], size_of::<Exemplar>()),
    ] {
        assert_eq!(added(Signal::Metrics, path), size, "{path:?}");
    }
    for (path, size) in [
        (&[1][..], size_of::<ResourceLogs>()),
        (&[1, 2], size_of::<ScopeLogs>()),
        (&[1, 2, 2], size_of::<LogRecord>()),
    ] {
        assert_eq!(added(Signal::Logs, path), size, "{path:?}");
    }
}

fn delimited(field: u8, inside: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    spandrel_wire::write_bytes(&mut out, u32::from(field), inside);
    out
}

/// A request of a million empty spans, which would take 264 MB once decoded, is refused while it is
/// read, long before its end.
#[test]
fn bombs_are_refused() {
    let spans = [0x12, 0].repeat(1_000_000);
    let bomb = delimited(1, &delimited(2, &spans));
    let refused = validate(Signal::Traces, &bomb, &Limits::default());
    let limit = 16 * bomb.len();
    let expected = Invalid::OverLimit {
        what: "bytes once decoded",
        limit,
    };
    assert_eq!(refused, Err(expected));
    let entries = [0x0a, 0].repeat(1_000_000);
    assert!(validate(Signal::Traces, &entries, &Limits::default()).is_err());
    let attributes = delimited(1, &delimited(1, &[0x0a, 0].repeat(1_000_000)));
    assert!(validate(Signal::Traces, &attributes, &Limits::default()).is_err());
}

/// More items than the limit are refused, and as many as the limit are not.
#[test]
fn items_are_limited() {
    let request = delimited(1, &delimited(2, &[0x12, 0].repeat(5)));
    let limits = |items| Limits {
        items,
        ..Limits::default()
    };
    assert!(validate(Signal::Traces, &request, &limits(5)).is_ok());
    let refused = validate(Signal::Traces, &request, &limits(4)).unwrap_err();
    assert_eq!(refused.to_string(), "more than 4 items");
}

/// Values nest as deep as the limit says, and a request that is accepted at the default limit is
/// accepted by decoders that are built on prost.
#[test]
fn nesting_is_limited() {
    let nested = |levels: u32| {
        let value = (1..levels).fold(Vec::new(), |value, _| delimited(5, &delimited(1, &value)));
        let span = delimited(9, &delimited(2, &value));
        delimited(1, &delimited(2, &delimited(2, &span)))
    };
    let limits = Limits::default();
    assert!(validate(Signal::Traces, &nested(limits.depth), &limits).is_ok());
    let decoded = <ExportTraceServiceRequest as prost::Message>::decode(&nested(limits.depth)[..]);
    assert!(decoded.is_ok());
    let refused = validate(Signal::Traces, &nested(limits.depth + 1), &limits).unwrap_err();
    assert_eq!(refused.to_string(), "more than 32 levels of nested values");
    assert!(validate(Signal::Traces, &nested(100_000), &Limits::NONE).is_err());
}
