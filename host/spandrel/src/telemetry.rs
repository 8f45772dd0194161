//! What the collector says of itself: its log, its metrics, its health.

pub mod health;
pub mod logs;
pub mod metrics;
