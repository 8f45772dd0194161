//! The answer that a sender waits for, and the limits of that wait.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use crate::completion::BatchEnd;
use crate::refused::{BatchRefusal, Refused};

/// The answer that a sender waits for.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(super) parts: Vec<oneshot::Receiver<Result<(), BatchRefusal>>>,
    pub(super) completed: Option<oneshot::Receiver<BatchEnd>>,
    /// The wait until nothing of the batch waits for room in a queue with `block_on_overflow` any
    /// more, and the longest time for that. The fate of the batch after that does not change the
    /// answer: it is in.
    pub(super) waits: Option<(oneshot::Receiver<()>, Instant)>,
    pub(super) draining: watch::Receiver<bool>,
}

/// The longest time that a sender waits for its answer: SDKs give up after 10 s, and a retry of a
/// request that was accepted nevertheless is a duplicate, which OTLP allows.
const ANSWER_WAIT: Duration = Duration::from_secs(30);
/// The same once a drain has begun: an application that dies in the same minute has 5 s to flush.
const DRAINING_ANSWER_WAIT: Duration = Duration::from_secs(3);
/// The hint to senders that waited for an answer in vain.
const RETRY_AFTER: Duration = Duration::from_secs(1);

impl Answer {
    /// Waits until each part has been through the stages. Returns `Ok`, or the refusal that says
    /// most. Parts that were not refused stay accepted.
    pub(crate) async fn through(self) -> Result<(), BatchRefusal> {
        through(self.parts).await
    }

    /// Waits for the answer. Returns `Ok`, or the refusal of a part that says most. Parts that were
    /// not refused stay accepted: a sender that retries sends them twice, which OTLP allows and a
    /// deduplicating plugin mends.
    pub(super) async fn wait(self) -> Result<(), Refused> {
        let Self {
            parts,
            completed,
            waits,
            mut draining,
        } = self;
        let ended = async {
            let answered = through(parts).await;
            answered.map_err(|refusal| refusal.refused)?;
            match completed {
                None => Ok(()),
                Some(completed) => match completed.await {
                    Ok(BatchEnd::Done) => Ok(()),
                    Ok(BatchEnd::Rejected) => Err(Refused::Rejected),
                    Ok(BatchEnd::Failed) | Err(_) => Err(Refused::Full {
                        retry_after: RETRY_AFTER,
                    }),
                },
            }
        };
        within_limits(ended, draining.clone()).await?;
        if let Some((waits, until)) = waits {
            tokio::select! {
                _told = waits => {}
                () = tokio::time::sleep_until(until) => {}
                _ = draining.wait_for(|draining| *draining) => {}
            }
        }
        Ok(())
    }
}

/// Waits for the end within the limits of a sender's wait. Returns the answer to the sender.
pub(super) async fn within_limits(
    ended: impl Future<Output = Result<(), Refused>>,
    mut draining: watch::Receiver<bool>,
) -> Result<(), Refused> {
    let drained = async {
        drop(draining.wait_for(|draining| *draining).await);
        tokio::time::sleep(DRAINING_ANSWER_WAIT).await;
    };
    tokio::select! {
        biased;
        ended = ended => ended,
        () = drained => Err(Refused::Draining),
        () = tokio::time::sleep(ANSWER_WAIT) => Err(Refused::Full { retry_after: RETRY_AFTER }),
    }
}

async fn through(
    parts: Vec<oneshot::Receiver<Result<(), BatchRefusal>>>,
) -> Result<(), BatchRefusal> {
    let answers = join_all(parts).await;
    // A shard that ended without an answer was cut off at the drain's deadline.
    let cut = || Err(BatchRefusal::from(Refused::Draining));
    let answers = answers
        .into_iter()
        .map(|answer| answer.unwrap_or_else(|_| cut()));
    let mut partial = false;
    let refusals = answers.filter_map(|answer| {
        partial |= answer.is_ok();
        answer.err()
    });
    // A refusal because a plugin failed says more than one about which no plugin was asked.
    let says_more = |refusal: &BatchRefusal| match refusal.refused {
        _ if refusal.fault.is_some() => 2,
        Refused::Invalid(_) | Refused::Quarantined { .. } => 1,
        _ => 0,
    };
    let worst = refusals.reduce(|first, next| {
        if says_more(&next) > says_more(&first) {
            next
        } else {
            first
        }
    });
    match worst {
        None => Ok(()),
        Some(refusal) => Err(BatchRefusal { partial, ..refusal }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stage::{Fault, FaultKind};

    fn part(answer: Result<(), BatchRefusal>) -> oneshot::Receiver<Result<(), BatchRefusal>> {
        let (sender, receiver) = oneshot::channel();
        sender.send(answer).unwrap();
        receiver
    }

    /// The refusal with a plugin's fault counts among several, wherever it stands: otherwise the
    /// batch at fault would never be known.
    #[tokio::test]
    async fn the_part_that_was_tried_counts() {
        let fault = |tried: bool| {
            let (stage, retry_after) = (format!("{tried}"), RETRY_AFTER);
            let refused = Refused::Fault { stage, retry_after };
            Err(BatchRefusal {
                refused,
                fault: tried.then(|| Fault::new(FaultKind::Trap, "panicked")),
                partial: false,
            })
        };
        for order in [[false, true], [true, false]] {
            let parts = order.map(|tried| part(fault(tried)));
            let parts = parts.into_iter().chain([part(Ok(()))]).collect();
            let refusal = through(parts).await.unwrap_err();
            assert!(refusal.fault.is_some() && refusal.partial);
        }
        assert!(through(vec![part(Ok(()))]).await.is_ok());
    }
}
