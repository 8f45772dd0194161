//! The names of the three OTLP services and their methods.

use spandrel_wire::Signal;

/// The names of the methods, for messages.
pub(crate) const NAMES: &str = "Export of opentelemetry.proto.collector.trace.v1.TraceService, \
    metrics.v1.MetricsService and logs.v1.LogsService";

/// Returns the name of the service that takes a signal, as health checks use it.
pub(crate) fn service(signal: Signal) -> &'static str {
    let path = signal.export_path().trim_start_matches('/');
    path.split_once('/').map_or(path, |(service, _)| service)
}
