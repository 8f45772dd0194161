//! Completion guards: they find out when everything that derives from a batch is settled.
//!
//! Every accepted batch carries one guard. Everything that derives from it (its parts, its items
//! that a stage holds, the requests it was merged into) holds a clone. When the last clone is gone,
//! the batch is complete: exported or dropped with a reason, or failed if any part of it was. A
//! sender waits for that, or a record of a log, which is finished then.

mod ingress_log;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tokio::sync::oneshot;

pub(crate) use self::ingress_log::{IngressLog, RecordGuards};
use crate::journal::Log;

/// The end of a batch, once nothing of it is left in the pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchEnd {
    /// Each item was exported, or dropped with a reason.
    Done,
    /// Some item could not be exported in time, or was abandoned. Another try may work.
    Failed,
    /// A backend refused some item for good. Another try would end the same way.
    Rejected,
}

/// The marks for what happened to some part of a batch. They can be combined.
const FAILED: u8 = 1;
const REJECTED: u8 = 2;
const SEEN: u8 = 4;

/// The deepest nesting of guards of guards. They are dropped one inside the other, on one stack.
const DEPTH: u8 = 16;

/// Keeps a batch incomplete for as long as a clone of the guard lives.
#[derive(Clone, Debug)]
pub struct Guard(Arc<Completion>);

#[derive(Debug)]
struct Completion {
    /// The marks of all parts.
    marks: AtomicU8,
    listener: Listener,
    /// The nesting depth of guards of guards in it.
    depth: u8,
}

#[derive(Debug)]
enum Listener {
    Sender(Option<oneshot::Sender<BatchEnd>>),
    /// A record of a log. It is finished when all of the batch is done, or refused for good. If
    /// something failed, it stays.
    Record(Arc<dyn Log>, u64),
    /// A record of the ingress log, which ends in the same way.
    Accepted(IngressLog, u64),
    /// Several guards folded into one, so that the parts of a batch that came from thousands hold
    /// one each.
    All(Vec<Guard>),
}

impl Guard {
    fn with(listener: Listener, depth: u8) -> Self {
        Self(Arc::new(Completion {
            marks: AtomicU8::new(0),
            listener,
            depth,
        }))
    }

    /// Makes a guard, and a receiver that resolves when its last clone is gone.
    pub fn new() -> (Self, oneshot::Receiver<BatchEnd>) {
        let (sender, receiver) = oneshot::channel();
        (Self::with(Listener::Sender(Some(sender)), 0), receiver)
    }

    /// Makes the guard of a record. The record is finished when the last clone is gone, unless
    /// something failed.
    pub(crate) fn of_record(log: Arc<dyn Log>, record: u64) -> Self {
        Self::with(Listener::Record(log, record), 0)
    }

    /// Returns the records of the ingress log that it stands for; `None` if it stands for anything
    /// else, or if one of them has failed.
    pub(crate) fn accepted(&self) -> Option<BTreeSet<u64>> {
        let mut leaves = Vec::new();
        self.leaves(&mut leaves);
        let record = |leaf: Self| match &leaf.0.listener {
            Listener::Accepted(_, record) if !leaf.has(FAILED) => Some(*record),
            _ => None,
        };
        leaves.into_iter().map(record).collect()
    }

    /// Folds these guards into one.
    pub(crate) fn fold(mut guards: Vec<Self>) -> Self {
        let depth = |guards: &[Self]| guards.iter().map(|guard| guard.0.depth).max();
        if depth(&guards).is_some_and(|depth| depth >= DEPTH) {
            let mut leaves = Vec::new();
            guards.iter().for_each(|guard| guard.leaves(&mut leaves));
            guards = leaves;
        }
        guards.sort_unstable_by_key(Self::address);
        guards.dedup_by_key(|guard| guard.address());
        let depth = depth(&guards).unwrap_or_default() + 1;
        Self::with(Listener::All(guards), depth)
    }

    fn leaves(&self, into: &mut Vec<Self>) {
        match &self.0.listener {
            Listener::All(guards) => guards.iter().for_each(|guard| guard.leaves(into)),
            Listener::Sender(_) | Listener::Record(..) | Listener::Accepted(..) => {
                into.push(self.clone());
            }
        }
    }

    fn address(&self) -> usize {
        Arc::as_ptr(&self.0).addr()
    }

    /// Returns true if both belong to the same batch.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Marks the batch as failed; it is still complete only when the last clone is gone.
    pub fn fail(&self) {
        self.mark(FAILED);
    }

    /// Marks the batch as refused by a backend for good.
    pub fn reject(&self) {
        self.mark(REJECTED);
    }

    /// Marks that a stage may know of the batch from now on.
    pub(crate) fn see(&self) {
        self.mark(SEEN);
    }

    fn has(&self, mark: u8) -> bool {
        self.0.marks.load(Ordering::Relaxed) & mark > 0
    }

    fn mark(&self, mark: u8) {
        let before = self.0.marks.fetch_or(mark, Ordering::Relaxed);
        if before & mark == 0
            && let Listener::All(guards) = &self.0.listener
        {
            guards.iter().for_each(|guard| guard.mark(mark));
        }
    }
}

impl Drop for Completion {
    fn drop(&mut self) {
        let marks = *self.marks.get_mut();
        match &mut self.listener {
            Listener::Sender(sender) => {
                let completed = match (marks & REJECTED > 0, marks & FAILED > 0) {
                    (true, _) => BatchEnd::Rejected,
                    (false, true) => BatchEnd::Failed,
                    (false, false) => BatchEnd::Done,
                };
                // If nobody listens any more, the sender has hung up.
                if let Some(sender) = sender.take() {
                    sender.send(completed).ok();
                }
            }
            Listener::Record(log, record) => {
                if marks & FAILED == 0 {
                    log.finish(*record);
                }
            }
            Listener::Accepted(log, record) => {
                log.end(*record, marks & FAILED > 0, marks & SEEN > 0);
            }
            Listener::All(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A batch is complete only when each of its parts is gone, and failed if one part failed.
    #[tokio::test]
    async fn completes_with_the_last_clone() {
        let (guard, mut completed) = Guard::new();
        let part = guard.clone();
        drop(guard);
        assert!(completed.try_recv().is_err(), "a part is still alive");
        part.fail();
        drop(part);
        assert_eq!(completed.await, Ok(BatchEnd::Failed));
    }

    /// Guards that are folded over and over complete with the last clone of the fold, each with its
    /// own end, and their nesting is bounded.
    #[tokio::test]
    async fn folded_guards_complete_each_alone() {
        let (first, mut first_completed) = Guard::new();
        let mut folded = Guard::fold(vec![first.clone(), first]);
        let mut later = Vec::new();
        for _ in 0..2000 {
            let (guard, completed) = Guard::new();
            later.push(completed);
            if later.len() % 1000 == 0 {
                guard.reject();
            }
            folded = Guard::fold(vec![folded, guard]);
            assert!(folded.0.depth <= DEPTH + 1);
        }
        assert!(first_completed.try_recv().is_err());
        drop(folded);
        assert_eq!(first_completed.await, Ok(BatchEnd::Done));
        let mut rejected = 0;
        for completed in later {
            rejected += u32::from(completed.await == Ok(BatchEnd::Rejected));
        }
        assert_eq!(rejected, 2);
    }
}
