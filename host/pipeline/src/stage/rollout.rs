//! The generations of a stage: which of them gets a batch, and how one takes over from another.

mod canary;
mod candidate;
pub(super) mod comparison;
pub(super) mod probe;
pub(crate) mod sample;
mod shadow;
pub(crate) mod slot;
mod succession;
pub(crate) mod target;
