//! Egress: what leaves the last stage goes to each exporter's queue, and from there, in several
//! concurrent attempts with retries, to the backend.

mod attempt;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use spandrel_wire::Signal;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::backoff::RetryConfig;
use crate::batch::Batch;
use crate::batcher::{Batcher, BatcherConfig};
use crate::exporter::Exporter;
use crate::ledger::Ledger;
use crate::queue::{Lane, Permit, Queue, QueueConfig, QueueFill, Queued};

/// One exporter of a pipeline, with its own queue.
#[derive(Clone, Debug)]
pub struct ExporterSpec {
    /// Its name in the config.
    pub name: String,
    /// What sends.
    pub exporter: Arc<dyn Exporter>,
    /// The bounds of its queue.
    pub queue: QueueConfig,
    /// Whether and how batches are merged before they go out.
    pub batcher: Option<BatcherConfig>,
    /// How failed attempts are repeated.
    pub retry: RetryConfig,
}

/// Room for one batch in every exporter's queue.
#[derive(Clone, Debug)]
pub(crate) struct Permits(Vec<Permit>);

/// Whether there is room for a sender's batch.
#[derive(Debug)]
pub(crate) enum Room {
    /// There is, and it is taken.
    Taken(Permits),
    /// Not now, and every full queue says that senders wait.
    Wait,
    /// A full queue says that senders are refused.
    Full,
}

/// The queues of a pipeline; shards forward to it.
#[derive(Debug)]
pub(crate) struct Egress {
    ledger: Arc<Ledger>,
    queues: Vec<Arc<Queue>>,
}

/// The tasks that empty the queues; they end when the queues are closed and empty.
#[derive(Debug)]
pub(crate) struct Consumers {
    tasks: JoinSet<()>,
    draining: watch::Sender<bool>,
    cut: watch::Sender<bool>,
}

impl Egress {
    /// Makes the queues and starts the task of each exporter.
    pub(crate) fn start(
        signal: Signal,
        ledger: &Arc<Ledger>,
        specs: Vec<ExporterSpec>,
    ) -> (Arc<Self>, Consumers) {
        let (draining, drain) = watch::channel(false);
        let (cut, cut_seen) = watch::channel(false);
        let mut tasks = JoinSet::new();
        let mut queues = Vec::with_capacity(specs.len());
        for (index, spec) in specs.into_iter().enumerate() {
            let queue = Arc::new(Queue::new(spec.queue.clone()));
            queues.push(Arc::clone(&queue));
            let consumer = Consumer {
                signal,
                ledger: Arc::clone(ledger),
                index,
                queue,
                spec: Arc::new(spec),
                drain: drain.clone(),
                cut: cut_seen.clone(),
            };
            tasks.spawn(consumer.run());
        }
        (
            Arc::new(Self {
                ledger: Arc::clone(ledger),
                queues,
            }),
            Consumers {
                tasks,
                draining,
                cut,
            },
        )
    }

    /// A sender's room in every queue, now.
    pub(crate) fn try_reserve(&self, items: u64, bytes: usize) -> Room {
        let permits = self
            .queues
            .iter()
            .map(|queue| queue.try_reserve(items, bytes))
            .collect::<Vec<_>>();
        let missing = || {
            permits
                .iter()
                .zip(&self.queues)
                .enumerate()
                .filter(|(_, (room, _))| room.is_none())
        };
        if missing().any(|(_, (_, queue))| !queue.config().block_on_overflow) {
            for (index, _) in missing() {
                self.count_overflow(index, items);
            }
            return Room::Full;
        }
        permits
            .into_iter()
            .collect::<Option<Vec<_>>>()
            .map_or(Room::Wait, |all| Room::Taken(Permits(all)))
    }

    /// Waits for a sender's room in every queue with `block_on_overflow`, at most for `limit`; a
    /// full queue without it is not waited for.
    pub(crate) async fn wait_for_room(
        &self,
        items: u64,
        bytes: usize,
        limit: Duration,
    ) -> Option<Permits> {
        let deadline = Instant::now() + limit;
        let mut permits = Vec::with_capacity(self.queues.len());
        for (index, queue) in self.queues.iter().enumerate() {
            let permit = if queue.config().block_on_overflow {
                tokio::time::timeout_at(deadline, queue.reserve(Lane::Sent, items, bytes))
                    .await
                    .ok()
                    .flatten()
            } else {
                queue.try_reserve(items, bytes)
            };
            let Some(permit) = permit else {
                self.count_overflow(index, items);
                return None;
            };
            permits.push(permit);
        }
        Some(Permits(permits))
    }

    /// Waits for room for what a plugin released or made. The caller bounds the wait.
    pub(crate) async fn reserve_released(&self, items: u64, bytes: usize) -> Option<Permits> {
        let mut permits = Vec::with_capacity(self.queues.len());
        for queue in &self.queues {
            permits.push(queue.reserve(Lane::Released, items, bytes).await?);
        }
        Some(Permits(permits))
    }

    fn count_overflow(&self, exporter: usize, items: u64) {
        self.ledger
            .post_exporter(exporter, |column| column.enqueue_failed += items);
    }

    /// Moves a batch out of the chain into every queue, in the room that was taken for it.
    pub(crate) fn forward(&self, batch: Batch, permits: &Permits) {
        if batch.items() == 0 {
            return;
        }
        let Batch { bytes, tally } = batch;
        let tallies = tally.forward(0..self.queues.len());
        for ((queue, permit), tally) in self.queues.iter().zip(&permits.0).zip(tallies) {
            let batch = Batch {
                bytes: Bytes::clone(&bytes),
                tally,
            };
            queue.push(Queued {
                batch,
                permit: permit.clone(),
            });
        }
    }

    /// How full each exporter's queue is.
    pub(crate) fn fill(&self) -> Vec<QueueFill> {
        self.queues.iter().map(|queue| queue.fill()).collect()
    }

    /// Nothing more comes: the consumers end once the queues are empty.
    pub(crate) fn close(&self) {
        self.queues.iter().for_each(|queue| queue.close());
    }
}

impl Consumers {
    /// Tells attempts that wait for their next try to hurry: the process is about to end.
    pub(crate) fn hurry(&self) {
        self.draining.send_replace(true);
    }

    /// Waits until the closed queues are empty and every attempt has ended, at most until
    /// `deadline`; what is left then is abandoned. Returns whether all of it ended by itself.
    pub(crate) async fn finish(mut self, deadline: Instant) -> bool {
        let all = async { while self.tasks.join_next().await.is_some() {} };
        let in_time = tokio::time::timeout_at(deadline, all).await.is_ok();
        if !in_time {
            self.cut.send_replace(true);
            let cut = async { while self.tasks.join_next().await.is_some() {} };
            if tokio::time::timeout(CUT_GRACE, cut).await.is_err() {
                self.tasks.shutdown().await;
            }
        }
        in_time
    }
}

/// How long consumers that were cut may take to let go: cancelling attempts takes no time, flushing
/// a file a little.
const CUT_GRACE: Duration = Duration::from_secs(1);

/// Empties one queue.
struct Consumer {
    signal: Signal,
    ledger: Arc<Ledger>,
    index: usize,
    queue: Arc<Queue>,
    spec: Arc<ExporterSpec>,
    drain: watch::Receiver<bool>,
    cut: watch::Receiver<bool>,
}

/// Empties a queue when its consumer ends, however it ends: what still waits is abandoned then.
struct LeftBehind(Arc<Queue>);

impl Drop for LeftBehind {
    fn drop(&mut self) {
        self.0.clear();
    }
}

impl Consumer {
    async fn run(mut self) {
        let _left_behind = LeftBehind(Arc::clone(&self.queue));
        let mut cut = self.cut.clone();
        let mut attempts = JoinSet::new();
        tokio::select! {
            () = self.consume(&mut attempts) => {}
            _ = cut.wait_for(|cut| *cut) => {}
        }
        attempts.shutdown().await;
        if let Err(error) = self.spec.exporter.flush().await {
            tracing::error!(exporter = %self.spec.name, error, "exporter could not flush");
        }
    }

    /// Until the queue is closed and empty, and every attempt has ended.
    async fn consume(&mut self, attempts: &mut JoinSet<()>) {
        let slots = Arc::new(Semaphore::new(self.spec.queue.num_consumers.max(1)));
        let mut batcher = Batcher::new(self.signal, self.spec.batcher.clone());
        // A slot is taken before a batch is, so that what cannot go out yet is still in the queue
        // and can still be merged.
        while let Ok(slot) = Arc::clone(&slots).acquire_owned().await {
            while attempts.try_join_next().is_some() {}
            let Some(gathered) = batcher.gather(&self.queue).await else {
                break;
            };
            let delivery = attempt::Delivery {
                signal: self.signal,
                ledger: Arc::clone(&self.ledger),
                index: self.index,
                spec: Arc::clone(&self.spec),
                drain: self.drain.clone(),
            };
            attempts.spawn(async move {
                delivery.run(gathered).await;
                drop(slot);
            });
        }
        while attempts.join_next().await.is_some() {}
    }
}
