//! `spandrel bench`: a load generator, a counting backend, and measurements of the collector
//! between them.
#![forbid(unsafe_code)]

mod backend;
mod collector;
mod error;
mod faults;
mod histogram;
mod item_name;
mod limits;
mod load;
mod measurements;
mod process;
pub mod proxy;
mod report;
mod settings;
mod template;
mod trial;
mod walk;

pub use error::BenchError;
pub use histogram::Histogram;
pub use report::{
    BedEnd, CollectorReport, Cost, Items, Latency, LoadReport, Report, Verdict, Yardstick,
};
pub use settings::{
    CollectorUnderTest, CommandLine, Compression, Load, LoadLength, Settings, Windows,
};
pub use spandrel_wire::Signal;
pub use trial::{Progress, ProgressCallback, run};
