//! The tasks at the admission of a durable pipeline: an admitted request is journaled before its
//! sender gets its OK, and goes on into the shards after that.
//!
//! Tasks of the pipeline do this, not the senders: a sender that goes away leaves no record behind
//! that nobody takes care of. The wait for the disk blocks no shard, and no change of the dispatch
//! rule.

use std::collections::VecDeque;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesOrdered, FuturesUnordered};
use futures_util::{FutureExt, StreamExt};
use tokio::sync::{mpsc, watch};

use super::admission::Admission;
use super::journal_feed::{AppendRequest, JournalFeed};
use crate::completion::IngressLog;
use crate::egress::ReservedBatch;
use crate::journal::AppendError;
use crate::ledger::Account;
use crate::refused::{BatchRefusal, Refused};
use crate::retries::RetryQueue;

/// The number of requests that are being written at once. A request that comes in while the disk
/// syncs goes with the next group, so this bounds the requests of one group.
const APPENDS: usize = 1024;
/// The number of requests that are durable and wait for a place in a shard, from which on no more
/// are written.
const READY: usize = 64;

/// A batch that is in the journal.
struct JournaledBatch {
    reserved: ReservedBatch,
    record: u64,
}

/// The tasks that journal the requests of a durable pipeline and put them into the shards.
pub(crate) struct Feeder {
    log: IngressLog,
    retries: Arc<RetryQueue>,
    input: mpsc::Receiver<AppendRequest>,
}

type Appended = (AppendRequest, Result<u64, AppendError>);

impl Feeder {
    /// Makes the feeder, and the way to it for the admission.
    pub(crate) fn new(log: IngressLog, retries: Arc<RetryQueue>) -> (Self, JournalFeed) {
        let (feed, input) = JournalFeed::new(Arc::clone(&retries));
        let feeder = Self {
            log,
            retries,
            input,
        };
        (feeder, feed)
    }

    /// Runs until the admission is closed and everything that was let in is through the stages. Tells
    /// `placed` when the last batch is in its shard.
    pub(crate) async fn run(self, admission: Arc<Admission>, placed: watch::Sender<bool>) {
        let Self {
            log,
            retries,
            input,
        } = self;
        let (ready, batches) = mpsc::channel(READY);
        let deal = deal(&admission, &retries, batches, placed);
        tokio::join!(append(&admission, &log, input, ready), deal);
    }
}

/// Writes requests to the journal, until the admission is closed and the input is empty.
async fn append(
    admission: &Admission,
    log: &IngressLog,
    mut input: mpsc::Receiver<AppendRequest>,
    ready: mpsc::Sender<JournaledBatch>,
) {
    let mut appends: FuturesOrdered<BoxFuture<'_, Appended>> = FuturesOrdered::new();
    // The senders of these have their answer: it comes from the disk, whatever the shards do.
    let mut durable = VecDeque::new();
    let mut failing = false;
    let mut is_open = true;
    let mut closed = std::pin::pin!(admission.closed());
    loop {
        tokio::select! {
            biased;
            Some((request, appended)) = appends.next() => {
                tell(admission, appended.as_ref().err(), &mut failing);
                durable.extend(answer_one(admission, log, request, appended));
            }
            place = ready.reserve(), if !durable.is_empty() => match (place, durable.pop_front()) {
                (Ok(place), Some(journaled)) => place.send(journaled),
                _ => return,
            },
            // A shard that takes nothing stops the writing here, at the latest.
            request = input.recv(), if is_open && appends.len() < APPENDS && durable.len() < READY => match request {
                Some(request) => {
                    let batch = &request.reserved.batch;
                    let append = log.log().append(batch.bytes.clone(), batch.items());
                    appends.push_back(append.map(|appended| (request, appended)).boxed());
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
    admission: &Admission,
    log: &IngressLog,
    request: AppendRequest,
    appended: Result<u64, AppendError>,
) -> Option<JournaledBatch> {
    let AppendRequest {
        mut reserved,
        answer,
    } = request;
    match appended {
        Ok(record) => {
            let tally = &mut reserved.batch.tally;
            tally.journal(log.guard(record));
            tally.transfer(Account::Chain);
            // A sender that went away gets no answer; its batch is accepted all the same.
            drop(answer.send(Ok(())));
            Some(JournaledBatch { reserved, record })
        }
        Err(source) => {
            let retry_after = admission.retry_after();
            drop(reserved);
            drop(answer.send(Err(Refused::Unwritten {
                retry_after,
                source,
            })));
            None
        }
    }
}

fn tell(admission: &Admission, error: Option<&AppendError>, failing: &mut bool) {
    let pipeline = admission.ledger().pipeline();
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
    admission: &Admission,
    retries: &RetryQueue,
    mut batches: mpsc::Receiver<JournaledBatch>,
    placed: watch::Sender<bool>,
) {
    // There are as many as the shards' inputs take.
    let mut answers = FuturesUnordered::new();
    let judge = |(record, changes, answered): (u64, u64, Result<(), BatchRefusal>)| {
        if let Err(refusal) = answered {
            retries.send_back(record, &refusal, admission.is_closed(), changes);
        }
    };
    loop {
        let next = async {
            let JournaledBatch { reserved, record } = batches.recv().await?;
            let changes = admission.ledger().stage_changes();
            Some((record, changes, admission.let_in(reserved).await))
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
                let refusal = BatchRefusal::from(refused);
                retries.send_back(record, &refusal, admission.is_closed(), changes);
            }
        }
    }
    placed.send_replace(true);
    while let Some(answered) = answers.next().await {
        judge(answered);
    }
}
