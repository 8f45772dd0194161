//! End-to-end tests: the real program, real gRPC, real plugins. There is a module for each
//! behaviour.

#![forbid(unsafe_code)]
#![expect(
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod attacks;
mod backends;
mod bad_candidates;
mod bad_items;
mod bench;
mod candidates;
mod commands;
mod connections;
mod deploy;
mod examples;
mod failure_domains;
mod files;
mod guests;
mod harness;
mod http;
mod journal;
mod life;
mod operator;
mod overload;
mod parts;
mod passing;
mod peers;
mod python;
mod readme_walkthrough;
mod reload;
mod rotation;
mod secrets;
mod secured;
mod sigterm;
mod sizes;
mod starting;
mod swap_sigterm;
mod swaps;
mod trust;
mod validate;
mod values;
mod wrong_protocol;
