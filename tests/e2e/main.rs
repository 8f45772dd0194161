//! End to end: the real program, real gRPC, real plugins. A module for each behaviour.

#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test fails by panicking, and says on stderr what it measured or could not run"
)]

mod backends;
mod examples;
mod files;
mod guests;
mod harness;
mod life;
mod passing;
mod python;
mod sigterm;
mod starting;
