//! Fetching from real servers on this machine, good ones and bad ones.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod outage;
mod registry;
mod rules;
mod server;
mod setup;
mod site;
