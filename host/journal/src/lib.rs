//! The durable log of accepted batches, in files.

#![forbid(unsafe_code)]

mod arbitrary;
mod counters;
mod finished;
mod format;
mod inbox;
mod keeper;
mod log;
mod options;
mod prepare;
mod read;
mod recover;
mod scan;
#[cfg(test)]
mod sim;
mod state;
mod store;
pub mod vfs;
mod writer;

#[doc(hidden)]
pub use arbitrary::recover_bytes;
pub use counters::Counters;
pub use options::{Options, Sync};
pub use recover::RecoveredLog;
pub use store::{OpenError, Recovered, Store};
