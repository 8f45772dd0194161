//! The kinds of telemetry: the method of each, and the number of items in its requests.

use super::field::{Fields, messages};

/// The kinds of telemetry that OTLP carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Signal {
    /// Spans.
    Traces,
    /// Metric data points.
    Metrics,
    /// Log records.
    Logs,
}

impl Signal {
    /// All signals.
    pub const ALL: [Self; 3] = [Self::Traces, Self::Metrics, Self::Logs];

    /// Returns the path of the gRPC method that exports this signal.
    pub const fn export_path(self) -> &'static str {
        match self {
            Self::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            Self::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
            Self::Logs => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
        }
    }

    /// Returns the signal that the gRPC method with this path exports. Returns `None` if the path
    /// belongs to another method.
    pub fn from_export_path(path: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|signal| signal.export_path() == path)
    }
}

/// Returns the number of items of a valid request: spans, data points or log records. Malformed
/// bytes end the count.
pub fn count(signal: Signal, request: &[u8]) -> usize {
    let records = messages(request, 1)
        .flat_map(|resource| messages(resource, 2))
        .flat_map(|scope| messages(scope, 2));
    match signal {
        Signal::Traces | Signal::Logs => records.count(),
        Signal::Metrics => records.map(points).sum(),
    }
}

/// Returns the number of data points of a serialized `Metric`.
pub(crate) fn points(metric: &[u8]) -> usize {
    let mut points = 0;
    let mut data = 0;
    for field in Fields::new(metric) {
        if is_data(field.number) {
            // A metric has data of one kind: a later kind replaces an earlier one, and more of the
            // same kind is merged.
            if data != field.number {
                data = field.number;
                points = 0;
            }
            points += messages(field.bytes(), 1).count();
        }
    }
    points
}

/// Returns true if a field of a serialized `Metric` has its data points.
pub(crate) fn is_data(number: u32) -> bool {
    matches!(number, 5 | 7 | 9 | 10 | 11)
}
