//! The collector's own telemetry: its log, its metrics, its health.

pub mod health;
pub mod logs;
pub mod metrics;
