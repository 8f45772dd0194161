//! The harness of the end-to-end tests and of the demo.
//!
//! [`artifacts`] builds the collector and the plugins, [`collector`] runs the real program as a
//! process, [`backend`] receives its exports, [`shop`] makes the traffic of a web shop, and
//! [`client`] sends it and remembers the spans that it believes delivered. Nothing here uses the
//! internals of the program: the tests see what an operator sees.
//!
//! `cargo demo` is the first command of a newcomer and compiles this crate, so it has only those
//! dependencies that the collector has anyway. Tools of tests alone are in `spandrel-tests`.

#![forbid(unsafe_code)]

pub mod admin;
pub mod artifacts;
pub mod backend;
mod cache;
pub mod client;
pub mod collector;
pub mod config;
pub mod ledger;
pub mod log;
pub mod metrics;
pub mod ports;
pub mod shop;
pub mod until;
