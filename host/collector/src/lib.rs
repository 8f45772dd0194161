//! The running collector: it is built from a checked configuration, changed while it runs, and
//! drained.
//!
//! Read [`collector`] first (build, run, drain), then `state` (the parts that can change, owned by
//! one task: `pipelines`, the stages of `stage::table`, receivers, exporters), `controller` (that
//! task: swaps, reloads, probation), [`status`] (everybody may read it) and [`control`] (the handle
//! for those who ask for changes).

#![forbid(unsafe_code)]

pub mod collector;
pub mod control;
mod controller;
mod debug;
mod difference;
mod drain;
mod durable;
pub mod error_chain;
pub mod examination;
mod exporters;
mod file;
mod ledger_rows;
pub mod memory;
mod pipelines;
pub mod plugins;
pub mod problems;
pub mod process;
pub mod quarantine;
pub mod quarantines;
mod receivers;
pub mod refusal;
pub mod report;
mod retiring;
pub mod stage;
mod start_error;
mod state;
pub mod status;
pub mod time_text;
pub mod trigger;
mod watch;

pub use self::collector::{Collector, Resources};
pub use self::controller::Origin;
pub use self::drain::Ending;
pub use self::start_error::StartError;
