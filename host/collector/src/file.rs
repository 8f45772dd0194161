//! OTLP/JSON lines: one request per line, as the OpenTelemetry Collector's `file` exporter writes
//! them, to look at and to replay.

pub(crate) mod exporter;
pub(crate) mod json;
pub(crate) mod receiver;

#[cfg(test)]
mod tests;
