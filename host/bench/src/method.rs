//! The calls of OTLP: their paths, and the content of their answers.

use spandrel_wire::Signal;

const TRACES: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
const METRICS: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";
const LOGS: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";

/// Returns the path of the method for a signal.
pub(crate) fn path(signal: Signal) -> &'static str {
    match signal {
        Signal::Traces => TRACES,
        Signal::Metrics => METRICS,
        Signal::Logs => LOGS,
    }
}

/// Returns the signal that a path takes; `None` if the path belongs to another method.
pub(crate) fn signal(path: &str) -> Option<Signal> {
    match path {
        TRACES => Some(Signal::Traces),
        METRICS => Some(Signal::Metrics),
        LOGS => Some(Signal::Logs),
        _ => None,
    }
}

/// Returns the number of items that a success took back: all signals have the same two fields for
/// it.
pub(crate) fn rejected(response: &[u8]) -> u64 {
    #[derive(Clone, PartialEq, prost::Message)]
    struct Response {
        #[prost(message, optional, tag = "1")]
        partial_success: Option<PartialSuccess>,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    struct PartialSuccess {
        #[prost(int64, tag = "1")]
        rejected: i64,
    }
    let response = <Response as prost::Message>::decode(response).unwrap_or_default();
    let rejected = response.partial_success.unwrap_or_default().rejected;
    u64::try_from(rejected).unwrap_or(0)
}
