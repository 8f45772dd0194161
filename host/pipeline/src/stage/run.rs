//! One generation of a stage on one shard: calls its instance, checks the replies, applies them.
//! Each layer adds one concern to the one below it:
//!
//! ```text
//! runner         policies: the plugin fails, holds too much, or is to end
//!   supervisor   faults: makes another instance, and offers it what the lost one held
//!     caller       calls: checks each reply and applies it; and instance, counts, held items
//! ```

pub(crate) mod batch;
mod breaker;
mod caller;
mod counts;
pub(super) mod failed_batches;
mod health;
mod instance;
mod learned;
pub(crate) mod output;
mod rebuild_wait;
mod recording;
pub(super) mod reply;
pub(crate) mod runner;
pub(super) mod schedule;
pub(super) mod supervisor;
