//! The data path between receive and export: a batch of serialized OTLP is admitted, runs through
//! the stages of its pipeline on one shard, and leaves for the exporters' queues. The ledger
//! accounts for each of its items at every moment. Read the modules in the order of the data path:
//!
//! ```text
//! ingress -> shard -> stage .. stage -> egress: queue -> batcher -> attempt -> exporter
//!    |                  |                                              |
//!    +------------------+------------- ledger -------------------------+
//! ```
//!
//! [`pipeline`] builds and drains it all. Plugins plug in through the traits of [`stage`], backends
//! through the trait of [`exporter`], durable logs through the traits of [`journal`]. [`refused`]
//! has the answers that a sender gets.

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
mod plugin;
pub mod queue;
pub mod refused;
mod replay;
mod shard;
pub mod stage;
