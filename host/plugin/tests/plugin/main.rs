//! Tests of guests in the real engine: each limit, each fault, each reason not to load.
//!
//! There is one binary, because linking wasmtime takes longer than running the tests.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod cache;
mod capture;
mod compile;
mod faults;
mod guests;
mod loading;
mod replies;
mod setup;
mod speech;
mod state;
