//! The rows of the table: requests, and the answer to each.

use std::time::Duration;

use ::http::Request;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue, any_value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::trace::v1::{Span, span};
use prost::Message;
use spandrel_pipeline::journal::AppendError;
use spandrel_pipeline::refused::Refused;
use spandrel_wire::Invalid;
use tonic::Code;

use super::sites::{At, Refusal};
use super::{LIMIT, Told, sent};
use crate::raw::{Body, LOGS, TRACES, framed, full, gzip, request};
use crate::round_trip::spans as some_spans;

const METRICS: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";

pub(super) type Row = (&'static str, At, Request<Body>, Told);

/// Returns all rows. Beside these, the receiver has two answers that take 30 s, or that nobody
/// hears: those to a body that is too slow, and to a sender that went away.
pub(super) fn all() -> Vec<Row> {
    let rows = [read(), refused_unread(), judged(), refused()];
    rows.into_iter().flatten().collect()
}

/// Returns good requests in every form that a request may have.
fn read() -> Vec<Row> {
    let good = some_spans(3).encode_to_vec();
    let zstd = zstd::encode_all(&good[..], 0).expect("memory");
    let mut largest = some_spans(1);
    let mut length = LIMIT - 100;
    for _ in 0..2 {
        first(&mut largest).name = "x".repeat(length);
        length += LIMIT - largest.encoded_len();
    }
    assert_eq!(largest.encoded_len(), LIMIT);
    let largest = largest.encode_to_vec();
    let ok = |name, request| (name, At::Open, request, Told::Whole);
    vec![
        ok("plain", sent(0, None, &good)),
        ok("identity", sent(0, Some("identity"), &good)),
        ok("gzip", sent(1, Some("gzip"), &gzip(&good))),
        ok("gzip unused", sent(0, Some("gzip"), &good)),
        ok("zstd", sent(1, Some("zstd"), &zstd)),
        ok("empty", sent(0, None, b"")),
        ok("empty spans", sent(0, None, &some_spans(0).encode_to_vec())),
        ok("at the limit", sent(0, None, &largest)),
    ]
}

/// Returns requests that are refused before their content can be judged.
fn refused_unread() -> Vec<Row> {
    let good = some_spans(3).encode_to_vec();
    let zipped = gzip(&good);
    let bomb = gzip(&vec![0; 64 << 20]);
    assert!(bomb.len() < 128 << 10);
    let bad = |name, request| (name, At::Open, request, Told::Never(Code::InvalidArgument));
    let large = |name, request| {
        (
            name,
            At::Open,
            request,
            Told::Never(Code::ResourceExhausted),
        )
    };
    let unknown = |name, request| (name, At::Open, request, Told::Never(Code::Unimplemented));
    let stranger = |name, token| {
        let mut request = sent(0, None, b"");
        let value = ::http::HeaderValue::from_static(token);
        request.headers_mut().insert("authorization", value);
        let told = match token {
            "Bearer swordfish" => Told::Whole,
            _ => Told::Never(Code::Unauthenticated),
        };
        (name, At::Guarded, request, told)
    };
    let twice = [framed(0, &good), framed(0, &good)].concat();
    vec![
        large(
            "5 MiB over a limit of 4 MiB",
            sent(0, None, &vec![0; 5 << 20]),
        ),
        large(
            "over the limit by a byte",
            sent(0, None, &vec![0; LIMIT + 1]),
        ),
        large("gzip bomb", sent(1, Some("gzip"), &bomb)),
        bad(
            "truncated gzip",
            sent(1, Some("gzip"), &zipped[..zipped.len() - 9]),
        ),
        bad("gzip that is none", sent(1, Some("gzip"), &good)),
        bad("compressed by nothing", sent(1, None, &zipped)),
        bad("unknown flag", sent(2, None, &good)),
        bad("no message", request(TRACES, None, full(""))),
        bad(
            "half a message",
            request(TRACES, None, full(framed(0, &good)[..20].to_vec())),
        ),
        bad("two messages", request(TRACES, None, full(twice))),
        unknown("brotli", sent(1, Some("br"), &good)),
        unknown(
            "other method",
            request("/grpc.Other/Call", None, full(framed(0, &good))),
        ),
        unknown("no pipeline", request(METRICS, None, full(framed(0, b"")))),
        stranger("no credentials", ""),
        stranger("bad token", "Bearer hunter2"),
        stranger("good token", "Bearer swordfish"),
    ]
}

/// Returns requests about which the bytes themselves decide.
fn judged() -> Vec<Row> {
    let spans = |spoil: fn(&mut Span)| {
        let mut request = some_spans(3);
        spoil(first(&mut request));
        sent(0, None, &request.encode_to_vec())
    };
    let bad = |name, request| (name, At::Open, request, Told::Never(Code::InvalidArgument));
    let one = |name, spoil| (name, At::Open, spans(spoil), Told::But(1));
    let mut all = some_spans(3);
    let each = &mut all.resource_spans[0].scope_spans[0].spans;
    each.iter_mut().for_each(|span| span.trace_id.clear());
    // Resource spans and scope spans of 2 MiB, and in them spans without a field.
    let start = [0x0a, 0x85, 0x80, 0x80, 1, 0x12, 0x80, 0x80, 0x80, 1];
    let empty_spans = [&start[..], &[0x12, 0].repeat(1 << 20)];
    vec![
        bad("malformed protobuf", sent(0, None, b"\x0a\xff\xff")),
        (
            "a text that is none, under which nothing is",
            At::Open,
            sent(0, None, b"\x0a\x03\x1a\x01\xff"),
            Told::Whole,
        ),
        one("nested too deep", |span| span.attributes.push(deep(40))),
        bad("cut in the middle", {
            let good = some_spans(3).encode_to_vec();
            sent(0, None, &good[..good.len() - 9])
        }),
        (
            "a million empty spans",
            At::Open,
            sent(0, None, &empty_spans.concat()),
            Told::Never(Code::ResourceExhausted),
        ),
        one("no trace id", |span| span.trace_id.clear()),
        one("short trace id", |span| span.trace_id.truncate(15)),
        one("trace id of zeros", |span| span.trace_id.fill(0)),
        one("no span id", |span| span.span_id.clear()),
        one("long span id", |span| span.span_id.push(1)),
        one("span id of zeros", |span| span.span_id.fill(0)),
        one("short parent", |span| span.parent_span_id = vec![1; 7]),
        one("short link", |span| {
            span.links.push(span::Link {
                trace_id: vec![1; 4],
                ..span::Link::default()
            });
        }),
        (
            "parent of zeros",
            At::Open,
            spans(|span| span.parent_span_id = vec![0; 8]),
            Told::Whole,
        ),
        (
            "no valid span",
            At::Open,
            sent(0, None, &all.encode_to_vec()),
            Told::But(3),
        ),
        (
            "log record without ids",
            At::Open,
            log(Vec::new()),
            Told::Whole,
        ),
        (
            "log record with half an id",
            At::Open,
            log(vec![1; 8]),
            Told::But(1),
        ),
    ]
}

/// Returns a request with one log record of this trace.
fn log(trace_id: Vec<u8>) -> Request<Body> {
    let log_records = vec![LogRecord {
        trace_id,
        ..LogRecord::default()
    }];
    let scope_logs = vec![ScopeLogs {
        log_records,
        ..ScopeLogs::default()
    }];
    let resource_logs = vec![ResourceLogs {
        scope_logs,
        ..ResourceLogs::default()
    }];
    let logs = ExportLogsServiceRequest { resource_logs }.encode_to_vec();
    request(LOGS, None, full(framed(0, &logs)))
}

/// Returns requests about which the pipeline decides.
fn refused() -> Vec<Row> {
    let mut mixed = some_spans(3);
    first(&mut mixed).span_id.clear();
    let mixed = mixed.encode_to_vec();
    let good = || sent(0, None, &some_spans(1).encode_to_vec());
    let never =
        |name, refusal: Refusal, code| (name, At::Refusing(refusal), good(), Told::Never(code));
    let later = |name, at| (name, at, good(), Told::Later(Code::Unavailable));
    vec![
        later("overload", At::Full),
        (
            "overload, with an invalid span",
            At::Full,
            sent(0, None, &mixed),
            Told::Later(Code::Unavailable),
        ),
        later("draining", At::Draining),
        later("disk full", At::Refusing(no_disk)),
        later("plugin fault", At::Refusing(fault)),
        never("quarantined", quarantined, Code::InvalidArgument),
        never(
            "refused by the backend",
            || Err(Refused::Rejected),
            Code::InvalidArgument,
        ),
        never("too many items", too_many, Code::ResourceExhausted),
    ]
}

fn no_disk() -> Result<(), Refused> {
    Err(Refused::Unwritten {
        retry_after: Duration::from_secs(2),
        source: AppendError::Full { what: "the disk" },
    })
}

fn fault() -> Result<(), Refused> {
    Err(Refused::Fault {
        stage: "redact".to_owned(),
        retry_after: Duration::from_secs(2),
    })
}

fn quarantined() -> Result<(), Refused> {
    Err(Refused::Quarantined {
        stage: "redact".to_owned(),
        attempts: 3,
    })
}

fn too_many() -> Result<(), Refused> {
    Err(Refused::Invalid(Invalid::OverLimit {
        what: "items",
        limit: 1,
    }))
}

fn first(request: &mut ExportTraceServiceRequest) -> &mut Span {
    &mut request.resource_spans[0].scope_spans[0].spans[0]
}

/// Returns an attribute with arrays in arrays.
fn deep(levels: usize) -> KeyValue {
    let mut value = AnyValue::default();
    for _ in 0..levels {
        let values = vec![value];
        value = AnyValue {
            value: Some(any_value::Value::ArrayValue(ArrayValue { values })),
        };
    }
    KeyValue {
        key: "deep".to_owned(),
        value: Some(value),
        ..KeyValue::default()
    }
}
