//! Tail sampling: keeps traces with errors, slow ones, and a share of the rest.
//!
//! The spans of a trace are held until its root has arrived, a little longer for stragglers, or
//! until a timeout. Then the whole trace is judged, and spans that come later follow the decision.
//! The held spans stay with the host; the plugin keeps twelve bytes of each.

mod decisions;
mod plugin;
mod rules;
mod state;
mod times;
mod trace;
mod waiting;

pub use plugin::KeepInterestingTraces;
pub use rules::Config;

spandrel_guest::export!(KeepInterestingTraces);

#[cfg(test)]
mod tests;
