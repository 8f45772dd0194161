//! Tests of the words that senders get about an error: which service, which span, which attribute,
//! and why.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{
    Exemplar, Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::Event;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;
use spandrel_wire::{InvalidUtf8, Limits, Output, Signal, ValidItems, remove_invalid_items};

fn text(key: &str, value: &str) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue {
            value: Some(Value::StringValue(value.to_owned())),
        }),
        ..KeyValue::default()
    }
}

fn resource(service: &str) -> Option<Resource> {
    Some(Resource {
        attributes: vec![text("host.name", "h"), text("service.name", service)],
        ..Resource::default()
    })
}

/// Returns the spans of two services. The second has three, with a statement each.
fn spans() -> ExportTraceServiceRequest {
    let entry = |service, names: &[&str]| {
        let span = |name: &&str| Span {
            trace_id: vec![7; 16],
            span_id: vec![8; 8],
            name: (*name).to_owned(),
            attributes: vec![
                text("db.system", "mysql"),
                text("db.statement", "SELECT #CUT#"),
            ],
            ..Span::default()
        };
        ResourceSpans {
            resource: resource(service),
            scope_spans: vec![ScopeSpans {
                spans: names.iter().map(span).collect(),
                ..ScopeSpans::default()
            }],
            ..ResourceSpans::default()
        }
    };
    ExportTraceServiceRequest {
        resource_spans: vec![
            entry("cart", &["GET /cart"]),
            entry(
                "checkout",
                &["POST /order", "SELECT shop.orders", "ROLLBACK"],
            ),
        ],
    }
}

/// Returns the bytes of a request in which one text is cut: the one with the mark of this number.
fn cut(request: &impl Message, number: usize) -> Vec<u8> {
    let mut bytes = request.encode_to_vec();
    let mark = b"#CUT#";
    let mut marks = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(mark));
    let at = marks.nth(number).unwrap();
    bytes[at + 4] = 0xe2;
    bytes
}

fn by(signal: Signal, request: &[u8], invalid_utf8: InvalidUtf8) -> ValidItems {
    remove_invalid_items(signal, request, &Limits::default(), invalid_utf8).unwrap()
}

/// One text that is not UTF-8 costs one span, and the error says where it is; by default it costs a
/// character.
#[test]
fn a_cut_text_is_found() {
    let request = cut(&spans(), 2);
    let place =
        r#"resource 2 (service "checkout"), span 2 "SELECT shop.orders", attribute "db.statement""#;
    let rejected = by(Signal::Traces, &request, InvalidUtf8::Reject);
    assert_eq!((rejected.items, rejected.refused.count), (3, 1));
    let why = format!("{place}: text in value that is not UTF-8");
    assert_eq!(rejected.refused.to_string(), why);

    let replaced = by(Signal::Traces, &request, InvalidUtf8::Replace);
    assert_eq!((replaced.items, replaced.refused.count), (4, 0));
    assert_eq!(replaced.replaced.to_string(), place);
    let Output::Request(left) = replaced.output else {
        panic!("{:?}", replaced.output);
    };
    let mut expected = spans();
    let span = &mut expected.resource_spans[1].scope_spans[0].spans[1];
    span.attributes[1] = text("db.statement", "SELECT #CUT\u{fffd}");
    assert_eq!(
        ExportTraceServiceRequest::decode(&left[..]).unwrap(),
        expected
    );
}

/// The words are few, whatever the names are and however many places there are.
#[test]
fn words_are_few() {
    let mut request = spans();
    for entry in &mut request.resource_spans {
        entry.resource = resource(&"x\n".repeat(10_000));
        for span in &mut entry.scope_spans[0].spans {
            span.span_id.clear();
            span.name = "ü".repeat(10_000);
        }
    }
    let cleaned = by(
        Signal::Traces,
        &request.encode_to_vec(),
        InvalidUtf8::Replace,
    );
    assert_eq!((cleaned.items, cleaned.refused.count), (0, 4));
    let words = cleaned.refused.to_string();
    assert!(words.ends_with("; and 1 more"), "{words}");
    assert!(
        !words.contains('\n') && words.chars().count() < 800,
        "{words}"
    );
    assert!(words.contains("no valid trace id or span id"), "{words}");
}

/// Bytes that are not text at all would grow to three times their size, so their item is refused.
#[test]
fn what_is_no_text_is_not_replaced() {
    let with_blob = |blob: String| {
        let mut request = spans();
        let span = &mut request.resource_spans[0].scope_spans[0].spans[0];
        span.attributes.push(text("blob", &blob));
        let mut bytes = request.encode_to_vec();
        for at in 1..bytes.len() {
            if bytes[at] == 0x7f && matches!(bytes[at - 1], b'x' | 0xff) {
                bytes[at] = 0xff;
            }
        }
        by(Signal::Traces, &bytes, InvalidUtf8::Replace)
    };
    let blob = with_blob(format!("x{}", "\u{7f}".repeat(1 << 20)));
    assert_eq!((blob.items, blob.refused.count), (3, 1));
    assert!(blob.refused.to_string().contains(r#"attribute "blob""#));
    let mostly_text = with_blob(format!("{}x\u{7f}", "y".repeat(100)).repeat(1 << 10));
    assert_eq!((mostly_text.items, mostly_text.replaced.count), (4, 1));
}

/// Data points and log records have their places as well, and so do errors in parts of them.
#[test]
fn other_signals_have_places() {
    let exemplar = |span_id| Exemplar {
        span_id,
        ..Exemplar::default()
    };
    let point = |span_id| NumberDataPoint {
        exemplars: vec![exemplar(span_id)],
        ..NumberDataPoint::default()
    };
    let data_points = vec![point(vec![8; 8]), point(vec![8; 7])];
    let metric = Metric {
        name: "queue.length".to_owned(),
        data: Some(Data::Gauge(Gauge { data_points })),
        ..Metric::default()
    };
    let scope_metrics = vec![ScopeMetrics {
        metrics: vec![metric],
        ..ScopeMetrics::default()
    }];
    let resource_metrics = vec![ResourceMetrics {
        resource: resource("queue"),
        scope_metrics,
        ..ResourceMetrics::default()
    }];
    let request = ExportMetricsServiceRequest { resource_metrics };
    let cleaned = by(
        Signal::Metrics,
        &request.encode_to_vec(),
        InvalidUtf8::Replace,
    );
    assert_eq!((cleaned.items, cleaned.refused.count), (1, 1));
    assert_eq!(
        cleaned.refused.to_string(),
        r#"resource 1 (service "queue"), metric 1 "queue.length", data point 2, exemplar: id in exemplar of 7 bytes instead of 8"#
    );

    let record = |trace_id| LogRecord {
        trace_id,
        ..LogRecord::default()
    };
    let scope_logs = vec![ScopeLogs {
        log_records: vec![record(vec![]), record(vec![7; 16]), record(vec![7; 8])],
        ..ScopeLogs::default()
    }];
    let resource_logs = vec![ResourceLogs {
        scope_logs,
        ..ResourceLogs::default()
    }];
    let request = ExportLogsServiceRequest { resource_logs };
    let cleaned = by(Signal::Logs, &request.encode_to_vec(), InvalidUtf8::Replace);
    assert_eq!((cleaned.items, cleaned.refused.count), (2, 1));
    assert_eq!(
        cleaned.refused.to_string(),
        "resource 1, log record 3: id in log record of 8 bytes instead of 16"
    );
}

/// A text of a resource that is not UTF-8 is mended, or costs everything under it.
#[test]
fn a_resource_is_judged_with_what_is_under_it() {
    let mut request = spans();
    let resource = request.resource_spans[1].resource.as_mut().unwrap();
    resource.attributes.push(text("host.id", "#CUT#"));
    let bytes = cut(&request, 1);
    let rejected = by(Signal::Traces, &bytes, InvalidUtf8::Reject);
    assert_eq!((rejected.items, rejected.refused.count), (1, 3));
    assert_eq!(
        rejected.refused.to_string(),
        r#"resource 2 (service "checkout"), attribute "host.id": text in value that is not UTF-8"#
    );
    let replaced = by(Signal::Traces, &bytes, InvalidUtf8::Replace);
    assert_eq!((replaced.items, replaced.replaced.count), (4, 1));
}

/// A request that ends in the middle cannot be let in in part, because the rest of it is unknown.
/// The error says in which attribute of which span it ends.
#[test]
fn what_is_unreadable_has_a_place() {
    let mut request = spans();
    let span = &mut request.resource_spans[1].scope_spans[0].spans[1];
    span.events.push(Event {
        attributes: vec![text("exception.stacktrace", "#CUT#")],
        ..Event::default()
    });
    let bytes = request.encode_to_vec();
    let end_of = |mark: &[u8]| {
        let mut places = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(mark));
        places.next().unwrap() + mark.len()
    };
    let said = |end: usize| {
        let cleaned = remove_invalid_items(
            Signal::Traces,
            &bytes[..end],
            &Limits::default(),
            InvalidUtf8::Replace,
        );
        cleaned.unwrap_err().to_string()
    };
    let said = said(end_of(b"stacktrace"));
    let place = r#"resource 2 (service "checkout"), span 2 "SELECT shop.orders", event, attribute "exception.stacktrace": malformed request at byte "#;
    assert!(said.starts_with(place), "{said}");
}
