//! What happens between receive and export: a batch of serialized OTLP is admitted, runs through
//! the stages of its pipeline on one shard, and leaves for the exporters' queues; each of its items
//! is in the books at every moment. Read in the order of the data path:
//!
//! ```text
//! ingress -> shard -> stage .. stage -> egress: queue -> batcher -> attempt -> exporter
//!    |                  |                                              |
//!    +------------------+------------- ledger -------------------------+
//! ```
//!
//! [`pipeline`] builds and drains it all. Plugins come in by the traits of [`stage`], backends by
//! the one of [`exporter`], durable logs by those of [`journal`]; [`refused`] is what a sender is told.

#![forbid(unsafe_code)]

pub mod backoff;
mod batch;
pub mod batcher;
mod chain;
pub mod completion;
pub mod egress;
pub mod exporter;
mod handover;
pub mod ingress;
pub mod journal;
pub mod ledger;
mod overflow;
pub mod pipeline;
pub mod queue;
pub mod refused;
mod replay;
mod shard;
pub mod stage;
