//! The methods of the three OTLP services, by their path.

use spandrel_wire::Signal;

const TRACES: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
const METRICS: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";
const LOGS: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";

/// The names of the methods, for messages.
pub(crate) const NAMES: &str = "Export of opentelemetry.proto.collector.trace.v1.TraceService, \
    metrics.v1.MetricsService and logs.v1.LogsService";

/// Returns the path of the method for a signal.
pub(crate) fn path(signal: Signal) -> &'static str {
    match signal {
        Signal::Traces => TRACES,
        Signal::Metrics => METRICS,
        Signal::Logs => LOGS,
    }
}

/// Returns the name of the service that takes a signal, as health checks use it.
pub(crate) fn service(signal: Signal) -> &'static str {
    let path = path(signal).trim_start_matches('/');
    path.split_once('/').map_or(path, |(service, _)| service)
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
