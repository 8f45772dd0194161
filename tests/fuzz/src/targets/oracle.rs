//! The results of prost for requests, for comparison.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use spandrel_wire::Signal;

use crate::metrics::points;

/// Returns the numbers of resources, scopes and items, or `None` if prost refuses the request.
pub(crate) fn counts(signal: Signal, bytes: &[u8]) -> Option<[usize; 3]> {
    match signal {
        Signal::Traces => {
            let entries = traces(bytes)?.resource_spans;
            let scopes = || entries.iter().flat_map(|entry| &entry.scope_spans);
            let items = scopes().map(|scope| scope.spans.len()).sum();
            Some([entries.len(), scopes().count(), items])
        }
        Signal::Metrics => {
            let request = ExportMetricsServiceRequest::decode(bytes).ok()?;
            let entries = request.resource_metrics;
            let scopes = || entries.iter().flat_map(|entry| &entry.scope_metrics);
            let items = scopes().flat_map(|scope| &scope.metrics).map(points).sum();
            Some([entries.len(), scopes().count(), items])
        }
        Signal::Logs => {
            let request = ExportLogsServiceRequest::decode(bytes).ok()?;
            let entries = request.resource_logs;
            let scopes = || entries.iter().flat_map(|entry| &entry.scope_logs);
            let items = scopes().map(|scope| scope.log_records.len()).sum();
            Some([entries.len(), scopes().count(), items])
        }
    }
}

/// Decodes a traces request.
pub(crate) fn traces(bytes: &[u8]) -> Option<ExportTraceServiceRequest> {
    ExportTraceServiceRequest::decode(bytes).ok()
}

/// Returns the signal that a byte selects.
pub(crate) fn signal(byte: u8) -> Signal {
    match byte % 3 {
        0 => Signal::Traces,
        1 => Signal::Metrics,
        _ => Signal::Logs,
    }
}
