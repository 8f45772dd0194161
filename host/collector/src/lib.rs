//! The running collector: what a checked configuration becomes, how it is changed while it runs,
//! and how it ends.
//!
//! Read [`collector`] first (build, run, drain), then `state` (the state, owned by one task),
//! `controller` (that task: swaps, reloads, probation), [`status`] (what everybody may read) and
//! [`control`] (the handle for those who ask for changes).

#![forbid(unsafe_code)]

pub mod collector;
pub mod control;
mod controller;
mod debug;
mod drain;
mod durable;
pub mod error_chain;
pub mod examination;
mod exporters;
mod file;
pub mod memory;
pub mod plugins;
pub mod problems;
pub mod process;
mod state;

mod ledger_rows;
pub mod quarantine;
pub mod quarantines;
mod receivers;
pub mod refusal;
pub mod report;
mod retiring;
pub mod stage;
mod start_error;
pub mod status;
pub mod time_text;
pub mod trigger;
mod watch;

pub use self::collector::{Collector, Resources};
pub use self::controller::Origin;
pub use self::drain::Ending;
pub use self::start_error::StartError;
