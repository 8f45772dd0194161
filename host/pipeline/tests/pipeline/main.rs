//! Tests of the pipeline with native plugins and exporters at its edges, on a paused clock: the
//! effect of a batch, a fault, a full queue and a drain, in items.
//!
//! `SPANDREL_SEEDS=10000 cargo test -p spandrel-pipeline -- chaos stage_changes` runs the long form of
//! the simulations (`durable::chaos` among them); a failure names its seed, and `SPANDREL_SEED=17`
//! runs that one alone.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, and the lints know only functions marked as tests"
)]

mod admission;
mod canary;
mod captured_log;
mod chain;
mod changes;
mod chaos;
mod delivery;
mod disk;
mod dispatch;
mod drain;
mod durable;
mod edges;
mod exporters;
mod faults;
mod gate;
mod holds;
mod invalid;
mod late_faults;
mod overflow;
mod redirect;
mod seeds;
mod shadow;
mod sizes;
mod split_requests;
mod stage_changes;
mod stateful_plugin;
mod swap;
