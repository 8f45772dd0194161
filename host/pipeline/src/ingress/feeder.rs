//! The door of a durable pipeline: an admitted request is journaled before its sender gets its OK,
//! and goes on into the shards after that.
//!
//! Tasks of the pipeline do this, not the senders: a sender that goes away leaves no record behind
//! that nobody takes care of. The wait for the disk blocks no shard, and no change of the dispatch
//! rule.

use std::collections::VecDeque;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesOrdered, FuturesUnordered};
use futures_util::{FutureExt, StreamExt};
use tokio::sync::{mpsc, oneshot, watch};

use super::admission::{Door, Reserved, SHARD_WAIT};
use super::answer;
use crate::batch::Batch;
use crate::completion::Accepted;
use crate::egress::Permits;
use crate::journal::Unwritten;
use crate::ledger::Account;
use crate::refused::{Refusal, Refused};
use crate::replay::Returns;

/// The number of requests between the senders and the disk, beside those that are being written.
/// Their bytes are bounded by the room that was taken for them in the queues.
const INPUT: usize = 256;
/// The number of requests that are being written at once. A request that comes in while the disk
/// syncs goes with the next group, so this bounds the requests of one group.
const APPENDS: usize = 1024;
/// The number of requests that are durable and wait for a place in a shard, from which on no more
/// are written.
const READY: usize = 64;

/// A request that is to be journaled, and the channel for its answer.
#[derive(Debug)]
struct Fresh {
    reserved: Reserved,
    answer: oneshot::Sender<Result<(), Refused>>,
}

/// A batch that is in the journal.
struct Journaled {
    batch: Batch,
    permits: Permits,
    record: u64,
}

/// The way into the journal.
#[derive(Debug)]
pub(crate) struct Feed {
    input: mpsc::Sender<Fresh>,
    returns: Arc<Returns>,
}

impl Feed {
    /// Returns true if the stages sent so much back that nothing more may come in.
    pub(super) fn is_full(&self) -> bool {
        self.returns.is_full()
    }
}

impl Door {
    /// Journals a request. `Ok` means that it is durable; it goes on by itself.
    pub(super) async fn journal(&self, reserved: Reserved) -> Result<(), Refused> {
        let Some(feed) = self.feed() else {
            return Err(Refused::Draining);
        };
        let place = async {
            let place = tokio::time::timeout(SHARD_WAIT, feed.input.reserve()).await;
            let place = place.map_err(|_| self.full())?;
            place.map_err(|_closed| Refused::Draining)
        };
        let place = self.unless_draining(place).await?;
        let (answer, answered) = oneshot::channel();
        place.send(Fresh { reserved, answer });
        let answered = async { answered.await.unwrap_or(Err(Refused::Draining)) };
        answer::within_limits(answered, self.draining()).await
    }
}

/// The tasks that journal the requests of a durable pipeline and put them into the shards.
pub(crate) struct Feeder {
    accepted: Accepted,
    returns: Arc<Returns>,
    input: mpsc::Receiver<Fresh>,
}

type Appended = (Fresh, Result<u64, Unwritten>);

impl Feeder {
    /// Makes the feeder, and the way into it for the door.
    pub(crate) fn new(accepted: Accepted, returns: Arc<Returns>) -> (Self, Feed) {
        let (sender, input) = mpsc::channel(INPUT);
        let feed = Feed {
            input: sender,
            returns: Arc::clone(&returns),
        };
        let feeder = Self {
            accepted,
            returns,
            input,
        };
        (feeder, feed)
    }

    /// Runs until the door is closed and everything that was let in is through the stages. Tells
    /// `placed` when the last batch is in its shard.
    pub(crate) async fn run(self, door: Arc<Door>, placed: watch::Sender<bool>) {
        let Self {
            accepted,
            returns,
            input,
        } = self;
        let (ready, batches) = mpsc::channel(READY);
        let deal = deal(&door, &returns, batches, placed);
        tokio::join!(append(&door, &accepted, input, ready), deal);
    }
}

/// Writes requests to the journal, until the door is closed and the input is empty.
async fn append(
    door: &Door,
    accepted: &Accepted,
    mut input: mpsc::Receiver<Fresh>,
    ready: mpsc::Sender<Journaled>,
) {
    let mut appends: FuturesOrdered<BoxFuture<'_, Appended>> = FuturesOrdered::new();
    // The senders of these have their answer: it comes from the disk, whatever the shards do.
    let mut durable = VecDeque::new();
    let mut failing = false;
    let mut is_open = true;
    let mut closed = std::pin::pin!(door.closed());
    loop {
        tokio::select! {
            biased;
            Some((fresh, appended)) = appends.next() => {
                tell(door, appended.as_ref().err(), &mut failing);
                durable.extend(answer_one(door, accepted, fresh, appended));
            }
            place = ready.reserve(), if !durable.is_empty() => match (place, durable.pop_front()) {
                (Ok(place), Some(journaled)) => place.send(journaled),
                _ => return,
            },
            // A shard that takes nothing stops the writing here, at the latest.
            fresh = input.recv(), if is_open && appends.len() < APPENDS && durable.len() < READY => match fresh {
                Some(fresh) => {
                    let batch = &fresh.reserved.batch;
                    let append = accepted.log().append(batch.bytes.clone(), batch.items());
                    appends.push_back(append.map(|appended| (fresh, appended)).boxed());
                }
                None => is_open = false,
            },
            () = &mut closed, if !input.is_closed() => input.close(),
            else => return,
        }
    }
}

/// Tells the sender. A durable request belongs to the pipeline from then on.
fn answer_one(
    door: &Door,
    accepted: &Accepted,
    fresh: Fresh,
    appended: Result<u64, Unwritten>,
) -> Option<Journaled> {
    let Fresh { reserved, answer } = fresh;
    let Reserved { mut batch, permits } = reserved;
    match appended {
        Ok(record) => {
            batch.tally.journal(accepted.guard(record));
            batch.tally.transfer(Account::Chain);
            // A sender that went away gets no answer; its batch is accepted all the same.
            drop(answer.send(Ok(())));
            Some(Journaled {
                batch,
                permits,
                record,
            })
        }
        Err(source) => {
            let retry_after = door.retry_after();
            drop(batch);
            drop(answer.send(Err(Refused::Unwritten {
                retry_after,
                source,
            })));
            None
        }
    }
}

fn tell(door: &Door, error: Option<&Unwritten>, failing: &mut bool) {
    let pipeline = door.ledger().pipeline();
    let failed = error.is_some();
    match (error, *failing) {
        (Some(error), false) => {
            let error: &dyn std::error::Error = error;
            tracing::error!(
                pipeline,
                error,
                "journal cannot be written, senders are refused until it can"
            );
        }
        (None, true) => tracing::info!(pipeline, "journal works again"),
        _ => {}
    }
    *failing = failed;
}

/// Puts durable batches into the shards, in order, and handles the shards' answers.
async fn deal(
    door: &Door,
    returns: &Returns,
    mut batches: mpsc::Receiver<Journaled>,
    placed: watch::Sender<bool>,
) {
    // There are as many as the shards' inputs take.
    let mut answers = FuturesUnordered::new();
    let judge = |(record, changes, answered): (u64, u64, Result<(), Refusal>)| {
        if let Err(refusal) = answered {
            returns.send_back(record, &refusal, door.is_closed(), changes);
        }
    };
    loop {
        let next = async {
            let Journaled {
                batch,
                permits,
                record,
            } = batches.recv().await?;
            let changes = door.ledger().stage_changes();
            Some((record, changes, door.let_in(batch, permits).await))
        };
        let mut next = std::pin::pin!(next);
        let placed = loop {
            tokio::select! {
                biased;
                placed = &mut next => break placed,
                Some(answered) = answers.next() => judge(answered),
            }
        };
        match placed {
            None => break,
            Some((record, changes, Ok(answer))) => {
                answers.push(async move { (record, changes, answer.through().await) });
            }
            Some((record, changes, Err(refused))) => {
                let refusal = Refusal::from(refused);
                returns.send_back(record, &refusal, door.is_closed(), changes);
            }
        }
    }
    placed.send_replace(true);
    while let Some(answered) = answers.next().await {
        judge(answered);
    }
}
