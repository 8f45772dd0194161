//! The program: command line, configuration, wiring, signals, health, metrics, own logs.
//!
//! Read in the order of a run: [`cli`] (what the operator typed), [`config`] (raw, then checked),
//! [`app`] (built eagerly, run, drained), [`telemetry`] (what it says of itself). `debug` and
//! `file` are the receivers and exporters that need no network.

#![forbid(unsafe_code)]

pub mod admin;
pub mod app;
pub mod cli;
pub mod config;
mod control;
mod debug;
mod file;
mod quarantine;
pub mod telemetry;
mod watch;
mod web;
