//! Public reports of trouble between senders and receivers of OTLP/JSON, each with the
//! behaviour here.

use spandrel_wire::Signal::{self, Logs, Metrics, Traces};
use spandrel_wire::{InvalidUtf8, Limits, Output, remove_invalid_items};

use super::{attribute, bad, good, metric, record, span};

const IDS: &str = r#""traceId":"0af7651916cd43dd8448eb211c80319c","spanId":"00f067aa0ba902b7""#;
const SPAN: &str = "resourceSpans[0].scopeSpans[0].spans[0]";

/// Checks that two texts have the same bytes.
fn same(signal: Signal, text: &str, plain: &str) {
    assert_eq!(good(signal, text), good(signal, plain), "{text}");
}

fn refused(signal: Signal, text: &str, place: &str) {
    let message = bad(signal, text);
    assert!(message.starts_with(place), "{message}");
}

/// open-telemetry/opentelemetry-js#4216, #4202 and #4062: the JavaScript SDK 0.44 sent times as the
/// two halves of a number. The Collector refuses them.
#[test]
fn times_in_halves() {
    let text = span(r#""startTimeUnixNano":{"low":-1013133952,"high":395276536}"#);
    refused(
        Traces,
        &text,
        &format!("{SPAN}.startTimeUnixNano: expected an unsigned integer"),
    );
}

/// open-telemetry/opentelemetry-collector#1899: earlier ones sent them as numbers.
#[test]
fn times_as_numbers() {
    let text =
        span(r#""startTimeUnixNano":1601839169774235400,"endTimeUnixNano":1.6018391697742e18"#);
    let plain = span(
        r#""startTimeUnixNano":"1601839169774235400","endTimeUnixNano":"1601839169774200000""#,
    );
    same(Traces, &text, &plain);
}

/// open-telemetry/opentelemetry-js#5065 and openobserve/openobserve#3150: today they are texts, at
/// which receivers stumbled that were built on serde alone.
#[test]
fn times_as_texts() {
    let text = record(
        r#""timeUnixNano":"1728758484155000000","observedTimeUnixNano":"1728758484155000000""#,
    );
    same(
        Logs,
        &text,
        &text.replace("\"1728758484155000000\"", "1728758484155000000"),
    );
}

/// open-telemetry/opentelemetry-collector#3195 and #4221, opentelemetry-php#969 and #1059,
/// opentelemetry-js#1568 and #3892: ids in base64, as proto3's JSON has bytes. The Collector refuses
/// them, too: 16 digits of base64 could be meant as either.
#[test]
fn ids_in_base64() {
    refused(
        Traces,
        &span(r#""traceId":"cgXI6uihz643E6Zqq7Nl4w==""#),
        &format!("{SPAN}.traceId: expected 32 hex"),
    );
    refused(
        Traces,
        &span(r#""spanId":"+iPdFTeJDX8=""#),
        &format!("{SPAN}.spanId: expected 16 hex"),
    );
    let text = record(r#""traceId":"In34NtT/Ay92zZ0Akx1KYg==""#);
    refused(
        Logs,
        &text,
        "resourceLogs[0].scopeLogs[0].logRecords[0].traceId: expected 32 hex",
    );
}

/// open-telemetry/opentelemetry-swift#537: base64 of the hexadecimal digits.
#[test]
fn ids_in_base64_of_digits() {
    let text = span(r#""traceId":"OWUyYTNkYzA2MDc0YjE3NTQwZDU0ZGU0ZTUxZTczNWY=""#);
    refused(Traces, &text, &format!("{SPAN}.traceId: expected 32 hex"));
}

/// open-telemetry/opentelemetry-collector#3195: enums by name, as Go's protojson writes them.
#[test]
fn enums_by_name() {
    let text = span(r#""kind":"SPAN_KIND_INTERNAL","status":{"code":"STATUS_CODE_OK"}"#);
    same(Traces, &text, &span(r#""kind":1,"status":{"code":1}"#));
    let text = record(r#""severityNumber":"SEVERITY_NUMBER_FATAL4""#);
    same(Logs, &text, &record(r#""severityNumber":24"#));
    let text = metric(r#""sum":{"aggregationTemporality":"AGGREGATION_TEMPORALITY_CUMULATIVE"}"#);
    same(
        Metrics,
        &text,
        &metric(r#""sum":{"aggregationTemporality":2}"#),
    );
}

/// open-telemetry/opentelemetry-collector#8720: names of the proto files and of Go's structs, and
/// ids in base64. The error names the keys as they stand.
#[test]
fn go_structs_as_json() {
    let text = r#"{"resource_spans":[{"resource":{"attributes":[{"key":"service.name","value":{"Value":{"StringValue":"a"}}}]},"scope_spans":[{"spans":[{"trace_id":"Z6z8LqVvEI+kU1/Ci6mXBQ=="}]}]}]}"#;
    refused(
        Traces,
        text,
        "resource_spans[0].scope_spans[0].spans[0].trace_id: expected 32 hex",
    );
    // Without the ids it is read, and the value in a struct of its own is not known.
    let text = text.replace("Z6z8LqVvEI+kU1/Ci6mXBQ==", "");
    let plain = r#"{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{}}]},"scopeSpans":[{"spans":[{}]}]}]}"#;
    same(Traces, &text, plain);
}

/// open-telemetry/opentelemetry-specification#2795, opentelemetry-ruby#1454 and
/// rhizomatics/remote_logger#22: keys as in the proto files.
#[test]
fn keys_in_snake_case() {
    let text = r#"{"resource_logs":[{"scope_logs":[{"log_records":[{"time_unix_nano":"1","severity_text":"INFO","body":{"string_value":"x"},"dropped_attributes_count":2}]}]}]}"#;
    let plain = record(
        r#""timeUnixNano":"1","severityText":"INFO","body":{"stringValue":"x"},"droppedAttributesCount":2"#,
    );
    same(Logs, text, &plain);
}

/// vercel/ai#6546: JavaScript writes a number that is none as null. The value is empty; other
/// receivers refused the whole batch.
#[test]
fn a_double_that_is_null() {
    same(
        Traces,
        &attribute(r#"{"doubleValue":null}"#),
        &attribute("{}"),
    );
}

/// open-telemetry/opentelemetry-go#8774: doubles that are no numbers have names.
#[test]
fn doubles_by_name() {
    for (name, value) in [
        ("NaN", f64::NAN),
        ("Infinity", f64::INFINITY),
        ("-Infinity", f64::NEG_INFINITY),
    ] {
        let bytes = good(
            Traces,
            &attribute(&format!(r#"{{"doubleValue":"{name}"}}"#)),
        );
        assert_eq!(bytes.last_chunk(), Some(&value.to_le_bytes()));
    }
}

/// open-telemetry/opentelemetry-rust#3595: Cloudflare's workers write null as an empty value.
#[test]
fn an_empty_value() {
    let text = record(r#""attributes":[{"key":"value","value":{}}],"body":{"newValue":1}"#);
    same(
        Logs,
        &text,
        &record(r#""attributes":[{"key":"value","value":{}}],"body":{}"#),
    );
}

/// VictoriaMetrics/VictoriaTraces#134: a value with two values, and an integer that is a number.
#[test]
fn two_values_in_one() {
    let text = attribute(r#"{"stringValue":"test-service","intValue":10}"#);
    let read = super::by_prost(Traces, &good(Traces, &text));
    assert_eq!(read, good(Traces, &attribute(r#"{"intValue":"10"}"#)));
}

/// langfuse/langfuse#14068 and planetf1/otelite#247: integers in quotes were dropped.
#[test]
fn integers_in_quotes() {
    same(
        Traces,
        &attribute(r#"{"intValue":"25"}"#),
        &attribute(r#"{"intValue":25}"#),
    );
    let point = |value: &str| {
        metric(&format!(
            r#""gauge":{{"dataPoints":[{{"asInt":{value}}}]}}"#
        ))
    };
    same(Metrics, &point(r#""-3""#), &point("-3"));
}

/// open-telemetry/opentelemetry-php#265: PHP writes an empty map as a list.
#[test]
fn lists_in_place_of_objects() {
    refused(Traces, "[]", "expected an object");
    refused(
        Traces,
        r#"{"resourceSpans":[[]]}"#,
        "resourceSpans[0]: expected an object",
    );
}

/// experientiallabs/experiential#1072 and open-telemetry/opentelemetry-java#1164: roots have an empty
/// parent, or one of zeros, and are valid.
#[test]
fn roots_with_a_parent() {
    for parent in ["", "0000000000000000"] {
        let bytes = good(
            Traces,
            &span(&format!(r#"{IDS},"parentSpanId":"{parent}""#)),
        );
        let limits = Limits::default();
        let valid = remove_invalid_items(Traces, &bytes, &limits, InvalidUtf8::Reject).unwrap();
        assert_eq!((valid.items, valid.output), (1, Output::Unchanged));
    }
}

/// open-telemetry/opentelemetry-collector#9139: a request without items is one.
#[test]
fn nothing_to_read() {
    for text in [
        "{}",
        r#"{"resourceSpans":[]}"#,
        r#"{"instrumentationLibrarySpans":[{"spans":[]}]}"#,
    ] {
        assert_eq!(good(Traces, text), b"");
    }
}

/// getsentry/relay#4542: bytes are base64, although ids are not.
#[test]
fn bytes_in_base64() {
    let bytes = good(Traces, &attribute(r#"{"bytesValue":"AAECAw=="}"#));
    assert!(bytes.ends_with(&[0x3a, 4, 0, 1, 2, 3]));
}
