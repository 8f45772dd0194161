//! The tasks of a durable pipeline beside its shards and exporters: into the journal at the door,
//! and out of it again.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

use super::resume::Resume;
use crate::completion::Accepted;
use crate::handover::{Handover, ShardLeft};
use crate::ingress::{Door, Feed, Feeder};
use crate::journal::{Durability, Journal};
use crate::ledger::Ledger;
use crate::replay::{Replay, Retries, Returns};

/// How long a drain waits until what was let in is in the shards: their senders are answered within
/// that time, and what is not in a shard by then stays in the journal.
const PLACE_WAIT: Duration = Duration::from_secs(3);
/// How long tries may take to take back their marks, once the shards have ended.
const MARK_WAIT: Duration = Duration::from_secs(1);
/// However late it is, a disk that works has so long to take what the stages leave.
const HAND_OVER: Duration = Duration::from_secs(1);

/// What a keeper is made of, before there is a door.
pub(super) struct Durable {
    durability: Durability,
    accepted: Accepted,
    returns: Arc<Returns>,
    feeder: Feeder,
}

/// See the module. Dropped, the tasks end where they are.
#[derive(Debug)]
pub(super) struct Keeper {
    journal: Arc<dyn Journal>,
    accepted: Accepted,
    returns: Arc<Returns>,
    tasks: JoinSet<()>,
    placed: watch::Receiver<bool>,
}

impl Keeper {
    /// The keeper to be, and the way into the journal for the door.
    pub(super) fn prepare(durability: Durability) -> (Durable, Feed) {
        let accepted = Accepted::new(durability.journal.ingress());
        let returns = Arc::new(Returns::default());
        let (feeder, feed) = Feeder::new(accepted.clone(), Arc::clone(&returns));
        let durable = Durable {
            durability,
            accepted,
            returns,
            feeder,
        };
        (durable, feed)
    }

    /// Waits until everything that was let in has its place in a shard, but not for long. To be
    /// called once the door is closed.
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

    /// What waits for another try.
    pub(super) fn retries(&self) -> Retries {
        Retries::new(Arc::clone(&self.returns), Arc::clone(self.accepted.log()))
    }

    /// Items that are in the ingress log.
    pub(super) fn unfinished(&self) -> u64 {
        self.accepted.log().fill().items
    }

    /// Puts down what the shards left, for the next process. Without it that one offers what is not
    /// finished to stages that know nothing: nothing is lost.
    pub(super) async fn hand_over(
        &self,
        left: Option<Vec<ShardLeft>>,
        ledger: &Ledger,
        deadline: Instant,
    ) {
        let pipeline = ledger.pipeline();
        let Some(left) = left else {
            let reason = "a shard did not end in time";
            tracing::warn!(pipeline, reason, "{NOT_KEPT}");
            return;
        };
        let (handover, tallies) = Handover::new(self.accepted.log().next(), left);
        if handover.is_empty() {
            return;
        }
        // Offered again to a stage that knows them, their items would be taken for duplicates.
        let failed = tallies.iter().any(|tally| tally.records().is_none());
        if failed || self.accepted.failed() > 0 {
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
                "what the stages know and hold is kept for the next start"
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

const NOT_KEPT: &str = "what the stages know is not kept for the next start, which offers unfinished batches to all of them";

impl Durable {
    /// Where what the last process left is found.
    pub(super) fn resume(&self) -> Resume<'_> {
        Resume {
            durability: &self.durability,
            accepted: &self.accepted,
        }
    }

    /// Starts the tasks; what is in the log begins to be replayed, but for the records of which stages
    /// hold what is left.
    pub(super) fn start(self, door: &Arc<Door>, held: BTreeSet<u64>) -> Keeper {
        let Self {
            durability,
            accepted,
            returns,
            feeder,
        } = self;
        door.ledger().lose(accepted.log().loss());
        let (placed, placed_seen) = watch::channel(false);
        let mut tasks = JoinSet::new();
        tasks.spawn(feeder.run(Arc::clone(door), placed));
        let journal = Arc::clone(&durability.journal);
        let replay = Replay::new(
            Arc::clone(door),
            accepted.clone(),
            durability,
            Arc::clone(&returns),
            held,
        );
        tasks.spawn(replay.run());
        Keeper {
            journal,
            accepted,
            returns,
            tasks,
            placed: placed_seen,
        }
    }
}
