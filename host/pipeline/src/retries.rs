//! Records of the ingress log of which not everything came through the stages: they wait for
//! another try, or for quarantine.

mod marks;
mod queue;
mod state;

use std::sync::Arc;
use std::time::SystemTime;

pub(crate) use self::marks::failures_of;
pub use self::queue::RetryAnswer;
pub(crate) use self::queue::RetryQueue;
pub(crate) use self::state::RetryState;
use crate::journal::Log;

/// The batches of a durable pipeline on which a plugin has failed, and which are not in quarantine:
/// they are tried again automatically.
#[derive(Clone, Debug)]
pub struct Retries {
    queue: Arc<RetryQueue>,
    log: Arc<dyn Log>,
}

/// A batch that waits for another try, or for quarantine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retry {
    /// The number of its record.
    pub record: u64,
    /// Its items.
    pub items: u64,
    /// The length of its request.
    pub bytes: usize,
    /// The number of times that a plugin failed on it.
    pub attempts: u8,
    /// The time at which it was accepted.
    pub accepted: SystemTime,
    /// The description of the last failure: a sentence without a full stop.
    pub reason: String,
}

impl Retries {
    pub(crate) fn new(queue: Arc<RetryQueue>, log: Arc<dyn Log>) -> Self {
        Self { queue, log }
    }

    /// Returns all of them, by the numbers of their records; at most as many as shut the admission.
    pub fn list(&self) -> Vec<Retry> {
        let failed = self.queue.failed().into_iter();
        let found = failed.filter_map(|(record, attempts, reason)| {
            let next = self.log.unfinished(record, 1).into_iter().next();
            let found = next.filter(|next| next.record == record)?;
            Some(Retry {
                record,
                items: found.items,
                bytes: found.bytes,
                attempts,
                accepted: found.written.max(SystemTime::UNIX_EPOCH),
                reason,
            })
        });
        found.collect()
    }

    /// Has a batch tried now, with all of its attempts available again.
    pub fn now(&self, record: u64) -> RetryAnswer {
        self.queue.hasten(record)
    }
}
