//! OTLP bytes, read and edited where they lie.
#![no_std]
#![forbid(unsafe_code)]

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

/// Why bytes are not a request that is accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Invalid {
    /// Not protobuf, or not of this shape.
    Malformed {
        /// What was read when it failed.
        what: &'static str,
        /// Byte offset of the failure in the request.
        offset: usize,
    },
    /// Valid so far, but more than a limit allows.
    OverLimit {
        /// Which limit.
        what: &'static str,
        /// Its value.
        limit: usize,
    },
}

impl core::fmt::Display for Invalid {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Malformed { what, offset } => write!(f, "malformed {what} at byte {offset}"),
            Self::OverLimit { what, limit } => write!(f, "more than {limit} {what}"),
        }
    }
}

impl core::error::Error for Invalid {}
