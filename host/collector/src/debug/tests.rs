use opentelemetry_proto::tonic::common::v1::{
    AnyValue, InstrumentationScope, KeyValue, any_value::Value,
};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{
    Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, metric, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};

use crate::debug::*;

fn attribute(key: &str, value: Value) -> KeyValue {
    let value = Some(AnyValue { value: Some(value) });
    KeyValue {
        key: key.to_owned(),
        value,
        ..KeyValue::default()
    }
}

fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, Value::StringValue(value.to_owned()))
}

fn resource() -> Option<Resource> {
    let attributes = vec![text("service.name", "cart")];
    Some(Resource {
        attributes,
        ..Resource::default()
    })
}

fn traces() -> Vec<u8> {
    let span = Span {
        trace_id: vec![0x11; 16],
        span_id: vec![0x22; 8],
        name: "GET /cart\u{1b}[2J".to_owned(),
        kind: 2,
        start_time_unix_nano: 1_700_000_000_000_000_000,
        attributes: vec![
            text("http.method", "GET"),
            attribute("n", Value::IntValue(7)),
        ],
        ..Span::default()
    };
    let scope = InstrumentationScope {
        name: "lib".to_owned(),
        version: "1.0".to_owned(),
        ..Default::default()
    };
    let scope_spans = vec![ScopeSpans {
        scope: Some(scope),
        spans: vec![span],
        ..ScopeSpans::default()
    }];
    let resource_spans = vec![ResourceSpans {
        resource: resource(),
        scope_spans,
        ..ResourceSpans::default()
    }];
    ExportTraceServiceRequest { resource_spans }.encode_to_vec()
}

fn shown(signal: Signal, batch: &[u8], verbosity: Verbosity) -> String {
    render(signal, batch, verbosity).expect("the batch is valid")
}

/// Basic prints one line for a batch, whatever is in it.
#[test]
fn basic_is_one_line() {
    let shown = shown(Signal::Traces, &traces(), Verbosity::Basic);
    assert_eq!(shown, "Traces resource spans: 1, spans: 1\n");
}

/// Normal prints one line for each span. Control characters of clients do not reach the terminal.
#[test]
fn normal_is_one_line_for_each_span() {
    let shown = shown(Signal::Traces, &traces(), Verbosity::Normal);
    let lines: Vec<&str> = shown.lines().skip(1).collect();
    assert_eq!(
        lines,
        [
            "ResourceTraces #0 service.name=cart",
            "ScopeTraces #0 lib@1.0",
            "GET /cart\\u{1b}[2J 11111111111111111111111111111111 2222222222222222 http.method=GET n=7",
        ]
    );
}

/// Detailed prints every field.
#[test]
fn detailed_shows_every_field() {
    let shown = shown(Signal::Traces, &traces(), Verbosity::Detailed);
    for part in [
        "     -> service.name: Str(cart)",
        "InstrumentationScope lib 1.0",
        "    Trace ID       : 11111111111111111111111111111111",
        "    Kind           : Server",
        "    Start time     : 2023-11-14T22:13:20.000Z",
        "     -> n: Int(7)",
    ] {
        assert!(shown.contains(part), "{part} is not in\n{shown}");
    }
}

/// Metrics and logs are printed as well.
#[test]
fn metrics_and_logs_are_shown() {
    let point = NumberDataPoint {
        attributes: vec![text("route", "/cart")],
        value: Some(number_data_point::Value::AsInt(3)),
        ..NumberDataPoint::default()
    };
    let sum = Sum {
        data_points: vec![point],
        ..Sum::default()
    };
    let metric = Metric {
        name: "requests".to_owned(),
        data: Some(metric::Data::Sum(sum)),
        ..Metric::default()
    };
    let scope_metrics = vec![ScopeMetrics {
        metrics: vec![metric],
        ..ScopeMetrics::default()
    }];
    let resource_metrics = vec![ResourceMetrics {
        resource: resource(),
        scope_metrics,
        ..Default::default()
    }];
    let batch = ExportMetricsServiceRequest { resource_metrics }.encode_to_vec();
    assert!(
        shown(Signal::Metrics, &batch, Verbosity::Normal).contains("requests{route=/cart} 3\n")
    );
    assert!(
        shown(Signal::Metrics, &batch, Verbosity::Detailed).contains("     -> Name: requests\n")
    );

    let body = Some(AnyValue {
        value: Some(Value::StringValue("sold out".to_owned())),
    });
    let record = LogRecord {
        body,
        attributes: vec![text("sku", "a1")],
        ..LogRecord::default()
    };
    let scope_logs = vec![ScopeLogs {
        log_records: vec![record],
        ..ScopeLogs::default()
    }];
    let resource_logs = vec![ResourceLogs {
        resource: resource(),
        scope_logs,
        ..ResourceLogs::default()
    }];
    let batch = ExportLogsServiceRequest { resource_logs }.encode_to_vec();
    assert!(shown(Signal::Logs, &batch, Verbosity::Normal).contains("sold out sku=a1\n"));
    assert!(shown(Signal::Logs, &batch, Verbosity::Detailed).contains("Body: Str(sold out)\n"));
}
