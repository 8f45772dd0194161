//! OTLP/JSON in both directions, against `opentelemetry-proto`'s serde form.

mod cases;
mod examples;
mod limits;
mod properties;
mod reports;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;
use spandrel_wire::json::{self, JsonError};
use spandrel_wire::{InvalidUtf8, Limits, Signal, validate};

/// Transcodes a text, and checks the promises for every text: the bytes are valid and not many, and
/// if the text is refused, nothing is written.
fn transcoded(signal: Signal, text: &[u8]) -> Result<Vec<u8>, JsonError> {
    let mut out = b"before".to_vec();
    let limits = Limits::default();
    let done = json::to_protobuf(signal, text, &limits, InvalidUtf8::Replace, &mut out);
    assert!(out.starts_with(b"before"));
    let bytes = out.split_off(6);
    if let Err(error) = done {
        assert!(bytes.is_empty());
        assert!(error.offset() <= text.len());
        return Err(error);
    }
    let depth = limits.depth;
    let only_depth = Limits {
        depth,
        ..Limits::NONE
    };
    validate(signal, &bytes, &only_depth).unwrap();
    assert!(bytes.len() <= 4 * text.len());
    Ok(bytes)
}

/// Returns the bytes of a good text.
fn good(signal: Signal, text: &str) -> Vec<u8> {
    transcoded(signal, text.as_bytes()).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// Returns the words of the error of a bad text.
fn bad(signal: Signal, text: &str) -> String {
    transcoded(signal, text.as_bytes()).unwrap_err().to_string()
}

/// Returns the bytes that prost writes for what serde reads in a text.
fn by_serde(signal: Signal, text: &str) -> Vec<u8> {
    match signal {
        Signal::Traces => serde_json::from_str::<ExportTraceServiceRequest>(text)
            .unwrap()
            .encode_to_vec(),
        Signal::Metrics => serde_json::from_str::<ExportMetricsServiceRequest>(text)
            .unwrap()
            .encode_to_vec(),
        Signal::Logs => serde_json::from_str::<ExportLogsServiceRequest>(text)
            .unwrap()
            .encode_to_vec(),
    }
}

/// Returns the bytes that prost writes for what it reads.
fn by_prost(signal: Signal, bytes: &[u8]) -> Vec<u8> {
    match signal {
        Signal::Traces => ExportTraceServiceRequest::decode(bytes)
            .unwrap()
            .encode_to_vec(),
        Signal::Metrics => ExportMetricsServiceRequest::decode(bytes)
            .unwrap()
            .encode_to_vec(),
        Signal::Logs => ExportLogsServiceRequest::decode(bytes)
            .unwrap()
            .encode_to_vec(),
    }
}

/// Returns the JSON of a valid request.
fn printed(signal: Signal, bytes: &[u8]) -> String {
    let mut out = b"before".to_vec();
    json::from_protobuf(signal, bytes, &mut out).unwrap();
    assert!(out.len() <= 6 + 2 + 16 * bytes.len());
    String::from_utf8(out.split_off(6)).unwrap()
}

/// Returns a traces request with one span that has these members.
fn span(members: &str) -> String {
    format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{{members}}}]}}]}}]}}"#)
}

/// Returns a traces request with one attribute that has this value.
fn attribute(value: &str) -> String {
    span(&format!(r#""attributes":[{{"key":"k","value":{value}}}]"#))
}

/// Returns a logs request with one record that has these members.
fn record(members: &str) -> String {
    format!(r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{{{members}}}]}}]}}]}}"#)
}

/// Returns a metrics request with one metric that has these members.
fn metric(members: &str) -> String {
    format!(r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{{{members}}}]}}]}}]}}"#)
}
