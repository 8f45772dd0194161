//! The tasks of a durable pipeline beside its shards and exporters: they bring batches into the
//! ingress log, and out of it again.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

use super::resume::Resume;
use crate::completion::IngressLog;
use crate::handover::{Handover, ShardHandover};
use crate::ingress::{Admission, Feeder, JournalFeed};
use crate::journal::{Durability, Journal};
use crate::ledger::Ledger;
use crate::replay::Replay;
use crate::retries::{Retries, RetryQueue};

/// The longest time that a drain waits until the admitted batches are in the shards. Their senders
/// are answered within that time; a batch that is not in a shard by then stays in the journal.
const PLACE_WAIT: Duration = Duration::from_secs(3);
/// The longest time that tries may take to take back their marks, once the shards have ended.
const MARK_WAIT: Duration = Duration::from_secs(1);
/// The time that a disk always gets to take the handover, however late it is.
const HAND_OVER: Duration = Duration::from_secs(1);

/// The parts of the tasks, before there is an admission.
pub(super) struct PreparedTasks {
    durability: Durability,
    log: IngressLog,
    retries: Arc<RetryQueue>,
    feeder: Feeder,
}

/// The tasks of a durable pipeline beside its shards and exporters. If it is dropped, they end
/// where they are.
#[derive(Debug)]
pub(super) struct JournalTasks {
    journal: Arc<dyn Journal>,
    log: IngressLog,
    retries: Arc<RetryQueue>,
    tasks: JoinSet<()>,
    placed: watch::Receiver<bool>,
}

impl JournalTasks {
    /// Makes the parts of the tasks, and the way to the journal for the admission.
    pub(super) fn prepare(durability: Durability) -> (PreparedTasks, JournalFeed) {
        let log = IngressLog::new(durability.journal.ingress());
        let retries = Arc::new(RetryQueue::default());
        let (feeder, feed) = Feeder::new(log.clone(), Arc::clone(&retries));
        let prepared = PreparedTasks {
            durability,
            log,
            retries,
            feeder,
        };
        (prepared, feed)
    }

    /// Waits until everything that was let in has its place in a shard, at most [`PLACE_WAIT`].
    /// Call it once the admission is closed.
    pub(super) async fn place_all(&mut self, deadline: Instant) {
        let limit = deadline.min(Instant::now() + PLACE_WAIT);
        let all = self.placed.wait_for(|placed| *placed);
        drop(timeout_at(limit, all).await);
    }

    /// Ends the tasks, once the shards have ended.
    pub(super) async fn finish(&mut self) {
        let all = async { while self.tasks.join_next().await.is_some() {} };
        drop(timeout(MARK_WAIT, all).await);
        self.tasks.shutdown().await;
    }

    /// Returns the batches that wait for another try.
    pub(super) fn retries(&self) -> Retries {
        Retries::new(Arc::clone(&self.retries), Arc::clone(self.log.log()))
    }

    /// Returns the number of items in the ingress log.
    pub(super) fn unfinished(&self) -> u64 {
        self.log.log().fill().items
    }

    /// Writes down what the shards left, for the next process. If that fails, the next process
    /// offers the unfinished batches to stages that know nothing: nothing is lost.
    pub(super) async fn hand_over(
        &self,
        left: Option<Vec<ShardHandover>>,
        ledger: &Ledger,
        deadline: Instant,
    ) {
        let pipeline = ledger.pipeline();
        let Some(left) = left else {
            let reason = "a shard did not end in time";
            tracing::warn!(pipeline, reason, "{NOT_KEPT}");
            return;
        };
        let (handover, tallies) = Handover::new(self.log.log().next(), left);
        if handover.is_empty() {
            return;
        }
        // Stages that know these batches would take their items for duplicates when they are
        // offered again.
        let failed = tallies.iter().any(|tally| tally.records().is_none());
        if failed || self.log.failed() > 0 {
            let reason = "batches that stages have seen are to be tried again";
            tracing::warn!(pipeline, reason, "{NOT_KEPT}");
            return;
        }
        let (items, parts) = (handover.items(), handover.encode());
        drop(handover);
        let limit = deadline.max(Instant::now() + HAND_OVER);
        let put = self.journal.put_handover(parts);
        match timeout_at(limit, put).await {
            Ok(Ok(())) => tracing::info!(
                pipeline,
                items,
                "state and held items of the stages are kept for the next start"
            ),
            Ok(Err(error)) => {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(pipeline, error, "{NOT_KEPT}");
            }
            Err(_) => {
                let reason = "the disk does not answer";
                tracing::warn!(pipeline, reason, "{NOT_KEPT}");
            }
        }
    }
}

const NOT_KEPT: &str =
    "state of the stages is not kept, the next start offers unfinished batches to all of them";

impl PreparedTasks {
    /// Returns the place where the handover of the last process is found.
    pub(super) fn resume(&self) -> Resume<'_> {
        Resume {
            durability: &self.durability,
            accepted: &self.log,
        }
    }

    /// Starts the tasks. The replay of the log begins, except for the records in `held`, whose
    /// remaining items stages hold.
    pub(super) fn start(self, admission: &Arc<Admission>, held: BTreeSet<u64>) -> JournalTasks {
        let Self {
            durability,
            log,
            retries,
            feeder,
        } = self;
        admission.ledger().lose(log.log().loss());
        let (placed, placed_seen) = watch::channel(false);
        let mut tasks = JoinSet::new();
        tasks.spawn(feeder.run(Arc::clone(admission), placed));
        let journal = Arc::clone(&durability.journal);
        let replay = Replay::new(
            Arc::clone(admission),
            log.clone(),
            durability.quarantine,
            Arc::clone(&retries),
            held,
        );
        tasks.spawn(replay.run());
        JournalTasks {
            journal,
            log,
            retries,
            tasks,
            placed: placed_seen,
        }
    }
}
