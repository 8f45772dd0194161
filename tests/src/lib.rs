//! The harness of the end-to-end tests and of the demo.
//!
//! [`artifacts`] builds the collector and the plugins, [`collector`] runs the real program as a
//! process, [`backend`] receives its exports, [`shop`] makes the traffic of a web shop, and
//! [`client`] sends it and remembers the spans that it believes delivered. Nothing here uses the
//! internals of the program: the tests see what an operator sees.

#![forbid(unsafe_code)]

pub mod admin;
pub mod artifacts;
pub mod authority;
pub mod backend;
pub mod bomb;
mod cache;
pub mod client;
pub mod collector;
pub mod config;
pub mod firewall;
pub mod ledger;
pub mod log;
pub mod metrics;
pub mod parts;
pub mod ports;
pub mod shop;
pub mod signing;
pub mod site;
pub mod tmpfs;
pub mod until;
