//! The last real batch that a stage saw: what a candidate is probed with.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::Input;

/// A sample is taken so often: a batch that stays at hand is memory that is not given back, and
/// writing out a projection costs a splice.
const INTERVAL: Duration = Duration::from_secs(1);

/// Larger batches are not kept: this bounds what a stage's sample takes.
const LARGEST: usize = 4 << 20;

/// Where the shards of a stage put what they see now and then.
#[derive(Debug, Default)]
pub(crate) struct Sample(Mutex<Option<Bytes>>);

impl Sample {
    pub(crate) fn get(&self) -> Option<Bytes> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn put(&self, batch: Bytes) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(batch);
    }
}

/// When a shard takes its next sample.
#[derive(Debug, Default)]
pub(crate) struct Sampler {
    taken: Option<Instant>,
}

impl Sampler {
    /// Shows a batch that goes into the stage.
    pub(crate) fn see(&mut self, input: &Input, sample: &Sample) {
        if self.taken.is_some_and(|taken| taken.elapsed() < INTERVAL) || input.len() > LARGEST {
            return;
        }
        self.taken = Some(Instant::now());
        // A copy of its own: the batch may be a small part of a large buffer.
        let whole = input.whole();
        if whole.len() <= LARGEST {
            sample.put(Bytes::copy_from_slice(&whole));
        }
    }
}
