//! The last real batch that a stage saw; candidates are probed with it.

use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::plugin::Input;

/// The time between two samples: a batch that is kept is memory that is not given back, and writing
/// out a projection costs a splice.
const INTERVAL: Duration = Duration::from_secs(1);

/// The largest batch that is kept: this bounds the memory of a stage's sample.
const LARGEST: usize = 4 << 20;

/// A batch of the stage, which its shards replace from time to time.
#[derive(Debug, Default)]
pub(crate) struct Sample(Mutex<Option<Bytes>>);

impl Sample {
    pub(crate) fn get(&self) -> Option<Bytes> {
        self.0.lock().clone()
    }

    fn put(&self, batch: Bytes) {
        *self.0.lock() = Some(batch);
    }
}

/// The time when a shard took its last sample.
#[derive(Debug, Default)]
pub(crate) struct Sampler {
    taken: Option<Instant>,
}

impl Sampler {
    /// Shows it a batch that goes into the stage; it may be kept as a sample.
    pub(crate) fn see(&mut self, input: &Input, sample: &Sample) {
        if self.taken.is_some_and(|taken| taken.elapsed() < INTERVAL) || input.len() > LARGEST {
            return;
        }
        self.taken = Some(Instant::now());
        // A copy, because the batch may be a small part of a large buffer.
        let whole = input.whole();
        if whole.len() <= LARGEST {
            sample.put(Bytes::copy_from_slice(&whole));
        }
    }
}
