//! Converts one request to one line of OTLP/JSON, and back.

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use serde_json::Value;
use spandrel_wire::Signal;

/// The reason why a batch or a line cannot be converted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JsonError {
    #[error("not OTLP")]
    Decode(#[from] prost::DecodeError),
    #[error("not OTLP/JSON")]
    Json(#[from] serde_json::Error),
    #[error("not OTLP/JSON: there is none of resourceSpans, resourceMetrics, resourceLogs")]
    NoSignal,
}

/// Returns the line of a batch, with its line feed.
pub(crate) fn to_line(signal: Signal, batch: &[u8]) -> Result<Vec<u8>, JsonError> {
    let mut line = match signal {
        Signal::Traces => serde_json::to_vec(&ExportTraceServiceRequest::decode(batch)?),
        Signal::Metrics => serde_json::to_vec(&ExportMetricsServiceRequest::decode(batch)?),
        Signal::Logs => serde_json::to_vec(&ExportLogsServiceRequest::decode(batch)?),
    }?;
    line.push(b'\n');
    Ok(line)
}

/// Returns the batch of a line.
pub(crate) fn from_line(line: &[u8]) -> Result<(Signal, Bytes), JsonError> {
    let value: Value = serde_json::from_slice(line)?;
    if value.get("resourceSpans").is_some() {
        let request: ExportTraceServiceRequest = serde_json::from_value(value)?;
        return Ok((Signal::Traces, request.encode_to_vec().into()));
    }
    if value.get("resourceMetrics").is_some() {
        let request: ExportMetricsServiceRequest = serde_json::from_value(value)?;
        return Ok((Signal::Metrics, request.encode_to_vec().into()));
    }
    if value.get("resourceLogs").is_some() {
        let request: ExportLogsServiceRequest = serde_json::from_value(value)?;
        return Ok((Signal::Logs, request.encode_to_vec().into()));
    }
    Err(JsonError::NoSignal)
}
