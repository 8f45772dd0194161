//! The tasks that empty the queues.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use spandrel_wire::Signal;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::ExporterSpec;
use super::delivery::Delivery;
use super::disk::{DiskLoader, DiskQueue, DiskWriter, QUEUE_BYTES};
use super::drain_state::DrainState;
use super::exporter_queue::ExporterQueue;
use super::exporters::ExporterHandle;
use super::sender::{DrainToLog, RetryingSender};
use super::settings::{Settings, SettingsReader};
use crate::batcher::Batcher;
use crate::ledger::Ledger;
use crate::overflow::Overflow;
use crate::queue::Queue;

/// One task for each exporter, including retired ones; each ends when its queue is closed and
/// empty.
#[derive(Debug)]
pub(crate) struct Consumers {
    signal: Signal,
    ledger: Arc<Ledger>,
    /// True if no exporter may overflow alone.
    keeps_all: bool,
    tasks: Mutex<JoinSet<()>>,
    /// The tasks that write the exporters' logs and load from them.
    disks: Mutex<JoinSet<()>>,
    draining: watch::Sender<bool>,
    cut: watch::Sender<bool>,
}

impl Consumers {
    pub(super) fn new(signal: Signal, ledger: Arc<Ledger>, keeps_all: bool) -> Self {
        Self {
            signal,
            ledger,
            keeps_all,
            tasks: Mutex::default(),
            disks: Mutex::default(),
            draining: watch::Sender::new(false),
            cut: watch::Sender::new(false),
        }
    }

    /// Makes a queue and starts the task that empties it. `column` is the exporter's column in the
    /// books; `disk` is the part of the queue that is on the disk, in a durable pipeline.
    pub(super) fn start(
        &self,
        column: usize,
        spec: ExporterSpec,
        disk: Option<Arc<DiskQueue>>,
    ) -> Arc<ExporterHandle> {
        let asked = Arc::new(spec);
        let spec = adapted(&asked, disk.is_some());
        let queue = Arc::new(Queue::new(spec.queue.clone()));
        let (retired, retired_seen) = watch::channel(false);
        let state = DrainState::new(self.draining.subscribe(), retired_seen);
        let ledger = Arc::clone(&self.ledger);
        let overflow = Arc::new(Overflow::of_exporter(ledger, spec.name.clone()));
        let settings = Settings::new(asked, spec);
        let consumer = Consumer {
            signal: self.signal,
            ledger: Arc::clone(&self.ledger),
            column,
            queue: Arc::clone(&queue),
            overflow: Arc::clone(&overflow),
            settings: settings.reader(),
            to_log: disk.clone().map(|disk| DrainToLog { disk, state }),
            drain: self.draining.subscribe(),
            cut: self.cut.subscribe(),
        };
        self.tasks().spawn(consumer.run());
        Arc::new(ExporterHandle::new(
            column,
            ExporterQueue::new(queue, disk),
            settings,
            overflow,
            self.keeps_all,
            retired,
        ))
    }

    /// Gives an exporter other settings. It keeps the batches that wait for it.
    pub(super) fn change(&self, exporter: &ExporterHandle, asked: ExporterSpec) {
        let asked = Arc::new(asked);
        let spec = adapted(&asked, exporter.has_disk());
        exporter.memory().resize(spec.queue.clone());
        let old = exporter.settings().change(asked, spec);
        self.tasks().spawn(old.put_away());
    }

    /// Starts the tasks that write an exporter's log and load from it.
    pub(super) fn start_disk(&self, disk: &Arc<DiskQueue>) {
        let drain = || self.draining.subscribe();
        let mut tasks = self.disks.lock();
        tasks.spawn(DiskWriter::new(Arc::clone(disk), drain()).run());
        tasks.spawn(DiskLoader::new(Arc::clone(disk), drain()).run());
    }

    /// Forgets the tasks that have ended: a collector may be reloaded any number of times.
    pub(super) fn reap(&self) {
        while self.tasks().try_join_next().is_some() {}
    }

    /// Tells attempts that wait for their next try to hurry: the process is about to end.
    pub(crate) fn hurry(&self) {
        self.draining.send_replace(true);
    }

    /// Waits until the closed queues are empty, every attempt has ended, and the rest is in the
    /// logs of `disks`, at most until `deadline`. The rest is then abandoned, or in the journal.
    /// Returns true if all of it ended by itself.
    pub(super) async fn finish(self, deadline: Instant, disks: &[Arc<DiskQueue>]) -> bool {
        let Self {
            tasks,
            disks: disk_tasks,
            cut,
            ..
        } = self;
        let mut tasks = tasks.into_inner();
        let mut disk_tasks = disk_tasks.into_inner();
        let all = async { while tasks.join_next().await.is_some() {} };
        let mut in_time = tokio::time::timeout_at(deadline, all).await.is_ok();
        if !in_time {
            cut.send_replace(true);
            let all_cut = async { while tasks.join_next().await.is_some() {} };
            if tokio::time::timeout(CUT_GRACE, all_cut).await.is_err() {
                tasks.shutdown().await;
            }
        }
        disks.iter().for_each(|disk| disk.close());
        let all = async { while disk_tasks.join_next().await.is_some() {} };
        in_time &= tokio::time::timeout_at(deadline, all).await.is_ok();
        disk_tasks.shutdown().await;
        disks.iter().for_each(|disk| disk.clear());
        in_time
    }

    fn tasks(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.tasks.lock()
    }
}

/// Returns the settings by which an exporter is run. `has_disk` is true if it has a log.
fn adapted(asked: &Arc<ExporterSpec>, has_disk: bool) -> Arc<ExporterSpec> {
    let mut spec = Arc::clone(asked);
    if has_disk {
        let spec = Arc::make_mut(&mut spec);
        spec.queue.max_bytes = spec.queue.max_bytes.min(QUEUE_BYTES);
        // A batch whose sender has an OK is not given up; the journal's `max_age` ends retries that
        // have no end otherwise.
        spec.retry.enabled = true;
        spec.retry.max_elapsed_time = Duration::ZERO;
    }
    spec
}

/// The time that cut consumers may take to let go: cancelling attempts takes no time, flushing a
/// file a little.
const CUT_GRACE: Duration = Duration::from_secs(1);

/// The task that empties one queue.
struct Consumer {
    signal: Signal,
    ledger: Arc<Ledger>,
    column: usize,
    queue: Arc<Queue>,
    overflow: Arc<Overflow>,
    settings: SettingsReader,
    to_log: Option<DrainToLog>,
    drain: watch::Receiver<bool>,
    cut: watch::Receiver<bool>,
}

/// Clears a queue when its consumer ends, however it ends: batches that still wait are abandoned
/// then.
struct ClearOnDrop(Arc<Queue>);

impl Drop for ClearOnDrop {
    fn drop(&mut self) {
        self.0.clear();
    }
}

impl Consumer {
    async fn run(mut self) {
        let _queue = ClearOnDrop(Arc::clone(&self.queue));
        let mut cut = self.cut.clone();
        let mut attempts = JoinSet::new();
        let (queue, overflow) = (Arc::clone(&self.queue), Arc::clone(&self.overflow));
        let admits = queue.admit_waiting(|batch| overflow.drop_batch(batch));
        tokio::select! {
            ((), ()) = async { tokio::join!(admits, self.consume(&mut attempts)) } => {}
            _ = cut.wait_for(|cut| *cut) => {}
        }
        attempts.shutdown().await;
        let spec = self.settings.spec();
        if let Err(error) = spec.exporter.flush().await {
            tracing::error!(exporter = %spec.name, error, "exporter could not flush");
        }
    }

    /// Sends batches until the queue is closed and empty, and every attempt has ended.
    async fn consume(&mut self, attempts: &mut JoinSet<()>) {
        let mut batcher = Batcher::new(self.signal, self.settings.spec().batcher.clone());
        loop {
            // The slot comes before the batch, so that batches that cannot go out yet are still in
            // the queue and can still be merged.
            self.wait_for_slot(attempts).await;
            batcher.configure(self.settings.spec().batcher.clone());
            let request = batcher
                .gather(&self.queue, || self.settings.most_bytes())
                .await;
            let Some(request) = request else { break };
            let sender = RetryingSender {
                signal: self.signal,
                ledger: Arc::clone(&self.ledger),
                column: self.column,
                settings: self.settings.lease(),
                drain: self.drain.clone(),
                to_log: self.to_log.clone(),
            };
            attempts.spawn(Delivery::new(sender, request).run());
        }
        while attempts.join_next().await.is_some() {}
    }

    /// Waits until fewer attempts run than the settings allow.
    async fn wait_for_slot(&mut self, attempts: &mut JoinSet<()>) {
        loop {
            while attempts.try_join_next().is_some() {}
            let spec = self.settings.spec();
            if attempts.len() < spec.queue.num_consumers.max(1) {
                return;
            }
            drop(spec);
            tokio::select! {
                _ended = attempts.join_next() => {}
                () = self.settings.changed() => {}
            }
        }
    }
}
