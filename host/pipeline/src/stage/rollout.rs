//! The generations of a stage: which of them gets a batch, and how one takes over from another.

mod canary;
pub(super) mod comparison;
pub(super) mod probe;
pub(crate) mod sample;
mod shadow;
pub(crate) mod slot;
