//! The tasks of a durable pipeline beside its shards and exporters: into the journal at the door,
//! and out of it again.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

use crate::ingress::{Door, Feed, Feeder};
use crate::journal::{Durability, Log};
use crate::replay::{Replay, Returns};

/// How long a drain waits until what was let in is in the shards: their senders are answered within
/// that time, and what is not in a shard by then stays in the journal.
const PLACE_WAIT: Duration = Duration::from_secs(3);
/// How long tries may take to take back their marks, once the shards have ended.
const MARK_WAIT: Duration = Duration::from_secs(1);

/// What a keeper is made of, before there is a door.
pub(super) struct Durable {
    durability: Durability,
    log: Arc<dyn Log>,
    returns: Arc<Returns>,
    feeder: Feeder,
}

/// See the module. Dropped, the tasks end where they are.
#[derive(Debug)]
pub(super) struct Keeper {
    log: Arc<dyn Log>,
    tasks: JoinSet<()>,
    placed: watch::Receiver<bool>,
}

impl Keeper {
    /// The keeper to be, and the way into the journal for the door.
    pub(super) fn prepare(durability: Durability) -> (Durable, Feed) {
        let log = durability.journal.ingress();
        let returns = Arc::new(Returns::default());
        let (feeder, feed) = Feeder::new(Arc::clone(&log), Arc::clone(&returns));
        let durable = Durable {
            durability,
            log,
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

    /// Items that are in the ingress log.
    pub(super) fn unfinished(&self) -> u64 {
        self.log.fill().items
    }
}

impl Durable {
    /// Starts the tasks; what is in the log begins to be replayed.
    pub(super) fn start(self, door: &Arc<Door>) -> Keeper {
        let Self {
            durability,
            log,
            returns,
            feeder,
        } = self;
        let (placed, placed_seen) = watch::channel(false);
        let mut tasks = JoinSet::new();
        tasks.spawn(feeder.run(Arc::clone(door), placed));
        let ingress = Arc::clone(&log);
        let replay = Replay::new(Arc::clone(door), ingress, durability, returns);
        tasks.spawn(replay.run());
        Keeper {
            log,
            tasks,
            placed: placed_seen,
        }
    }
}
