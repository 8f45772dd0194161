//! `spandrel bench`: a load generator, a counting backend, and measurements of the collector
//! between them.
#![forbid(unsafe_code)]

mod backend;
mod collector;
mod error;
mod faults;
mod histogram;
mod identity;
mod limits;
mod load;
mod measurements;
mod process;
pub mod proxy;
mod report;
mod response;
mod settings;
mod template;
mod trial;
mod walk;

pub use error::BenchError;
pub use histogram::Histogram;
pub use report::{
    CollectorReport, Cost, End, Items, Latency, LoadReport, Report, Verdict, Yardstick,
};
pub use settings::{Amount, CommandLine, Compression, Load, Settings, Subject, Windows};
pub use spandrel_wire::Signal;
pub use trial::{Progress, ProgressCallback, run};
