//! One generation of a stage on one shard: calls its instance, checks the replies, applies them.

pub(crate) mod batch;
mod breaker;
pub(super) mod failed_batches;
mod learned;
pub(super) mod reply;
pub(crate) mod runner;
