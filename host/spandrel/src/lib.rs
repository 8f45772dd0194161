//! The program: command line, configuration, wiring, signals, health, metrics, own logs.
//!
//! Read the modules in the order of a run: [`cli`] parses what the operator typed, [`config`] reads
//! and checks the configuration, [`app`] builds everything eagerly, runs it and drains it,
//! [`telemetry`] reports on the collector itself. `debug` and `file` are the receivers and
//! exporters that need no network.

#![forbid(unsafe_code)]

pub mod admin;
pub mod app;
pub mod cli;
mod control;
mod debug;
mod file;
mod quarantine;
pub mod telemetry;
mod watch;
mod web;
