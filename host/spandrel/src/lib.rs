//! The program: command line, wiring, signals, health, metrics, own logs.
//!
//! Read the modules in the order of a run: [`cli`] parses what the operator typed, [`app`] builds
//! the collector and the servers beside it, [`telemetry`] reports on the collector itself, and
//! `supervisor` tells the service manager of the system about its life. The rest
//! is in other crates: `spandrel-config` reads and checks the configuration, `spandrel-collector`
//! runs it, `spandrel-admin` serves the admin API.

#![forbid(unsafe_code)]

pub mod app;
pub mod cli;
mod start_error;
mod supervisor;
pub mod telemetry;

pub use self::start_error::StartError;
