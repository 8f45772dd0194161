//! The tasks that empty the queues.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use spandrel_wire::Signal;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::known::Known;
use super::leaving::Leaving;
use super::outlets::Outlet;
use super::spill::{QUEUE_BYTES, Spill};
use super::{ExporterSpec, attempt};
use crate::batcher::Batcher;
use crate::ledger::Ledger;
use crate::queue::Queue;

/// One task for each exporter, also for those that are retired; each ends when its queue is closed
/// and empty.
#[derive(Debug)]
pub(crate) struct Consumers {
    signal: Signal,
    ledger: Arc<Ledger>,
    tasks: Mutex<JoinSet<()>>,
    /// What leads into the exporters' logs and back.
    spills: Mutex<JoinSet<()>>,
    draining: watch::Sender<bool>,
    cut: watch::Sender<bool>,
}

impl Consumers {
    pub(super) fn new(signal: Signal, ledger: Arc<Ledger>) -> Self {
        Self {
            signal,
            ledger,
            tasks: Mutex::default(),
            spills: Mutex::default(),
            draining: watch::Sender::new(false),
            cut: watch::Sender::new(false),
        }
    }

    /// Makes a queue and starts the task that empties it. `column` is the exporter's in the books,
    /// `spill` the way into its log, in a durable pipeline.
    pub(super) fn start(
        &self,
        column: usize,
        spec: ExporterSpec,
        spill: Option<Arc<Spill>>,
    ) -> Arc<Outlet> {
        let mut room = spec.queue.clone();
        let asked = Arc::new(spec);
        let mut spec = Arc::clone(&asked);
        if spill.is_some() {
            room.max_bytes = room.max_bytes.min(QUEUE_BYTES);
            // What has an OK is not given up; the journal's `max_age` ends what has no end otherwise.
            let endless = Arc::make_mut(&mut spec);
            endless.retry.enabled = true;
            endless.retry.max_elapsed_time = Duration::ZERO;
        }
        let queue = Arc::new(Queue::new(room));
        let (retired, retired_seen) = watch::channel(false);
        let leaving = Leaving::new(self.draining.subscribe(), retired_seen);
        let consumer = Consumer {
            signal: self.signal,
            ledger: Arc::clone(&self.ledger),
            column,
            queue: Arc::clone(&queue),
            spec,
            detour: spill
                .clone()
                .map(|spill| attempt::Detour { spill, leaving }),
            drain: self.draining.subscribe(),
            cut: self.cut.subscribe(),
        };
        self.tasks().spawn(consumer.run());
        let leads_here = spill.clone();
        let outlet = Arc::new(Outlet::new(column, queue, asked, spill, retired));
        if let Some(spill) = leads_here {
            spill.lead_to(Arc::downgrade(&outlet));
        }
        outlet
    }

    /// Starts what leads into an exporter's log and back.
    pub(super) fn start_spill(&self, spill: &Arc<Spill>) {
        let mut tasks = lock(&self.spills);
        tasks.spawn(Arc::clone(spill).write(self.draining.subscribe()));
        tasks.spawn(Arc::clone(spill).load(self.draining.subscribe()));
    }

    /// Forgets the tasks that have ended: a collector may be reloaded any number of times.
    pub(super) fn reap(&self) {
        while self.tasks().try_join_next().is_some() {}
    }

    /// Tells attempts that wait for their next try to hurry: the process is about to end.
    pub(crate) fn hurry(&self) {
        self.draining.send_replace(true);
    }

    /// Waits until the closed queues are empty, every attempt has ended, and the rest is in the logs
    /// of `spills`, at most until `deadline`; what is left then is abandoned, or in the journal.
    /// Returns whether all of it ended by itself.
    pub(super) async fn finish(self, deadline: Instant, spills: &[Arc<Spill>]) -> bool {
        let Self {
            tasks,
            spills: writers,
            cut,
            ..
        } = self;
        let mut tasks = tasks.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut writers = writers.into_inner().unwrap_or_else(PoisonError::into_inner);
        let all = async { while tasks.join_next().await.is_some() {} };
        let mut in_time = tokio::time::timeout_at(deadline, all).await.is_ok();
        if !in_time {
            cut.send_replace(true);
            let all_cut = async { while tasks.join_next().await.is_some() {} };
            if tokio::time::timeout(CUT_GRACE, all_cut).await.is_err() {
                tasks.shutdown().await;
            }
        }
        spills.iter().for_each(|spill| spill.close());
        let all = async { while writers.join_next().await.is_some() {} };
        in_time &= tokio::time::timeout_at(deadline, all).await.is_ok();
        writers.shutdown().await;
        spills.iter().for_each(|spill| spill.clear());
        in_time
    }

    fn tasks(&self) -> MutexGuard<'_, JoinSet<()>> {
        lock(&self.tasks)
    }
}

fn lock(tasks: &Mutex<JoinSet<()>>) -> MutexGuard<'_, JoinSet<()>> {
    tasks.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How long consumers that were cut may take to let go: cancelling attempts takes no time, flushing
/// a file a little.
const CUT_GRACE: Duration = Duration::from_secs(1);

/// Empties one queue.
struct Consumer {
    signal: Signal,
    ledger: Arc<Ledger>,
    column: usize,
    queue: Arc<Queue>,
    spec: Arc<ExporterSpec>,
    detour: Option<attempt::Detour>,
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
        let known = Arc::new(Known::new(self.spec.name.clone()));
        // A slot is taken before a batch is, so that what cannot go out yet is still in the queue
        // and can still be merged.
        while let Ok(slot) = Arc::clone(&slots).acquire_owned().await {
            while attempts.try_join_next().is_some() {}
            let Some(gathered) = batcher.gather(&self.queue, || known.most_bytes()).await else {
                break;
            };
            let delivery = attempt::Delivery {
                signal: self.signal,
                ledger: Arc::clone(&self.ledger),
                column: self.column,
                spec: Arc::clone(&self.spec),
                known: Arc::clone(&known),
                drain: self.drain.clone(),
                detour: self.detour.clone(),
            };
            attempts.spawn(async move {
                delivery.run(gathered).await;
                drop(slot);
            });
        }
        while attempts.join_next().await.is_some() {}
    }
}
