//! The functions that the host offers: the log, clocks, random numbers, and the plugin's own
//! metrics.
//!
//! In a native build the same functions go to a double of the host that [`testing`](crate::testing)
//! reads and sets: time stands still until a test moves it.

use std::time::Duration;

#[cfg(target_arch = "wasm32")]
use crate::bindings::spandrel::plugin::host as imported;
pub use crate::bindings::spandrel::plugin::types::Level;
#[cfg(not(target_arch = "wasm32"))]
use double as imported;

#[cfg(not(target_arch = "wasm32"))]
pub(crate) mod double;

/// Returns the whole current batch, for a plugin that got a projection of it.
pub(crate) fn batch() -> Vec<u8> {
    imported::batch()
}

/// Writes a line to the collector's log, under the name of the stage. The host cuts it at 4 KiB and
/// limits the rate. [`info!`](crate::info) and its siblings also format.
pub fn log(level: Level, message: &str) {
    imported::log(level, message);
}

/// Returns the wall clock in nanoseconds since the Unix epoch, the unit of a span's times.
pub fn now() -> u64 {
    imported::now()
}

/// Returns the monotonic clock, from an arbitrary start. Use it to measure timeouts. Each instance
/// has its own; a time that should survive a swap is a [`Moment`](crate::Moment).
pub fn monotonic() -> Duration {
    Duration::from_nanos(imported::monotonic())
}

/// Returns a random number.
pub fn random() -> u64 {
    imported::random()
}

/// Adds to a counter of the plugin. The collector's metrics show it as
/// `spandrel_plugin_counter_total` with the labels `stage` and `name`. All instances of the stage
/// add to the same one, and a swap does not reset it.
///
/// A name is 1 to 64 characters of `a` to `z`, `0` to `9` and `_`. A stage has at most 64 names,
/// counters and [gauges](gauge) together, and one name cannot be both. A metric that breaks these
/// rules is not counted, and the first such name of a stage causes a warning in the collector's
/// log. In tests it causes a panic.
///
/// Each call crosses to the host: one for each batch is cheap, one for each span is not.
#[track_caller]
pub fn count(name: &str, delta: u64) {
    imported::count(name, delta);
}

/// Sets a gauge of the plugin, by the same rules as [`count`]. The metrics show it as
/// `spandrel_plugin_gauge`. All instances of a stage set the same one, and the last value counts.
#[track_caller]
pub fn gauge(name: &str, value: f64) {
    imported::gauge(name, value);
}

/// Writes a formatted line to the collector's log at level `trace`.
#[macro_export]
macro_rules! trace {
    ($($text:tt)+) => { $crate::host::log($crate::host::Level::Trace, &::std::format!($($text)+)) };
}

/// Writes a formatted line to the collector's log at level `debug`.
#[macro_export]
macro_rules! debug {
    ($($text:tt)+) => { $crate::host::log($crate::host::Level::Debug, &::std::format!($($text)+)) };
}

/// Writes a formatted line to the collector's log at level `info`.
#[macro_export]
macro_rules! info {
    ($($text:tt)+) => { $crate::host::log($crate::host::Level::Info, &::std::format!($($text)+)) };
}

/// Writes a formatted line to the collector's log at level `warn`.
#[macro_export]
macro_rules! warn {
    ($($text:tt)+) => { $crate::host::log($crate::host::Level::Warn, &::std::format!($($text)+)) };
}

/// Writes a formatted line to the collector's log at level `error`.
#[macro_export]
macro_rules! error {
    ($($text:tt)+) => { $crate::host::log($crate::host::Level::Error, &::std::format!($($text)+)) };
}
