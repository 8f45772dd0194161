//! The room that the requests of a receiver share, whichever port they come to.

use crate::receiver::front::{AdmissionSlots, Budget};

/// Memory, decoders, and places in front of the pipelines.
#[derive(Debug)]
pub(crate) struct Room {
    pub(super) budget: Budget,
    pub(super) admission: AdmissionSlots,
}

impl Room {
    /// Creates room for requests of about this many bytes together, the longest of which has
    /// `longest` bytes.
    pub(crate) fn new(bytes: usize, longest: usize) -> Self {
        Self {
            budget: Budget::new(bytes, longest),
            admission: AdmissionSlots::new(),
        }
    }
}
