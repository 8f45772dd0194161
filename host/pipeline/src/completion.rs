//! Completion guards: when is everything that derives from a batch settled?
//!
//! Every accepted batch carries one guard. What derives from it (its parts, the items of it that a
//! stage holds, the requests it was merged into) holds a clone. When the last clone is gone, the
//! batch is complete: exported or dropped with a reason, or failed if any part of it was.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tokio::sync::oneshot;

/// How a batch ended, once nothing of it is left in the pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completed {
    /// Each item was exported, or dropped with a reason.
    Done,
    /// Some item could not be exported in time, or was abandoned: another try may work.
    Failed,
    /// A backend refused some item for good: another try would end the same way.
    Rejected,
}

/// How a batch ends, from the best to the worst.
const ENDS: [Completed; 3] = [Completed::Done, Completed::Failed, Completed::Rejected];

/// Keeps a batch incomplete for as long as a clone of it lives.
#[derive(Clone, Debug)]
pub struct Guard(Arc<Completion>);

#[derive(Debug)]
struct Completion {
    /// The worst that happened to any part: an index into `ENDS`.
    worst: AtomicU8,
    listener: Option<oneshot::Sender<Completed>>,
}

impl Guard {
    /// A guard, and what resolves when its last clone is gone.
    pub fn new() -> (Self, oneshot::Receiver<Completed>) {
        let (sender, receiver) = oneshot::channel();
        let completion = Completion {
            worst: AtomicU8::new(0),
            listener: Some(sender),
        };
        (Self(Arc::new(completion)), receiver)
    }

    /// Marks the batch as failed; it is still complete only when the last clone is gone.
    pub fn fail(&self) {
        self.0.worst.fetch_max(1, Ordering::Relaxed);
    }

    /// Marks the batch as refused by a backend for good.
    pub fn reject(&self) {
        self.0.worst.fetch_max(2, Ordering::Relaxed);
    }
}

impl Drop for Completion {
    fn drop(&mut self) {
        let worst = usize::from(*self.worst.get_mut());
        if let Some(listener) = self.listener.take() {
            // Nobody listening any more is the sender having hung up.
            let completed = ENDS.get(worst).copied().unwrap_or(Completed::Failed);
            listener.send(completed).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A batch is complete only when each part of it is gone, and failed if one part was.
    #[tokio::test]
    async fn completes_with_the_last_clone() {
        let (guard, mut completed) = Guard::new();
        let part = guard.clone();
        drop(guard);
        assert!(completed.try_recv().is_err(), "a part is still alive");
        part.fail();
        drop(part);
        assert_eq!(completed.await, Ok(Completed::Failed));
    }
}
