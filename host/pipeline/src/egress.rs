//! Egress: what leaves the last stage goes to each exporter's queue, and from there, in several
//! concurrent attempts with retries, to the backend.
//!
//! The exporters can change while batches are on their way: each leaves by the outlets by which it
//! was admitted. An exporter that is not among the outlets any more is *retired*: once the last such
//! batch is through, its queue closes by itself, and its consumer empties it and ends.
//!
//! In a durable pipeline a queue is small, and what a backend does not take in time waits in the
//! exporter's log; it belongs to the name, so a changed exporter goes on with it.

mod attempt;
mod consumer;
mod known;
mod leaving;
mod outlets;
mod spill;

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use spandrel_wire::Signal;
use tokio::sync::watch;
use tokio::time::Instant;

pub(crate) use self::consumer::Consumers;
pub(crate) use self::outlets::Permits;
use self::outlets::{Outlet, Outlets};
use self::spill::Spill;
use crate::backoff::RetryConfig;
use crate::batch::Batch;
use crate::batcher::BatcherConfig;
use crate::exporter::Exporter;
use crate::journal::{Journal, Log};
use crate::ledger::Ledger;
use crate::queue::{Lane, Queue, QueueConfig, QueueFill};

/// One exporter of a pipeline, with its own queue.
#[derive(Clone, Debug)]
pub struct ExporterSpec {
    /// Its name in the config; no other exporter of the pipeline has it.
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

impl ExporterSpec {
    /// Whether what runs by the one can run on by the other.
    fn is_same(&self, other: &Self) -> bool {
        let Self {
            name,
            exporter,
            queue,
            batcher,
            retry,
        } = self;
        *name == other.name
            && Arc::ptr_eq(exporter, &other.exporter)
            && *queue == other.queue
            && *batcher == other.batcher
            && *retry == other.retry
    }
}

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
    outlets: watch::Sender<Arc<Outlets>>,
    /// Queues of exporters that were changed or removed, by their columns, until they are empty.
    retired: Mutex<Vec<(usize, Weak<Queue>)>>,
    logs: Option<Logs>,
}

/// The exporters' logs, in a durable pipeline.
#[derive(Debug)]
struct Logs {
    journal: Arc<dyn Journal>,
    /// Opened, by the exporter's name.
    open: Mutex<BTreeMap<String, Arc<dyn Log>>>,
    /// In use or used before, by the exporter's name: what is in them is in the books.
    spills: Mutex<BTreeMap<String, Arc<Spill>>>,
}

impl Logs {
    fn new(journal: Arc<dyn Journal>) -> Self {
        Self {
            journal,
            open: Mutex::default(),
            spills: Mutex::default(),
        }
    }

    /// The log of an exporter. Reads and writes files when it is not open yet.
    fn open(&self, exporter: &str) -> io::Result<Arc<dyn Log>> {
        if let Some(log) = lock(&self.open).get(exporter) {
            return Ok(Arc::clone(log));
        }
        let log = self.journal.egress(exporter)?;
        lock(&self.open).insert(exporter.to_owned(), Arc::clone(&log));
        Ok(log)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Egress {
    /// Makes the queues and starts the task of each exporter. The ledger has their columns. Reads and
    /// writes the files of the exporters' logs, where there are any.
    ///
    /// # Errors
    /// The exporter whose log cannot be opened.
    pub(crate) async fn start(
        signal: Signal,
        ledger: &Arc<Ledger>,
        specs: Vec<ExporterSpec>,
        journal: Option<Arc<dyn Journal>>,
    ) -> Result<(Arc<Self>, Consumers), (String, io::Error)> {
        let egress = Arc::new(Self {
            ledger: Arc::clone(ledger),
            outlets: watch::Sender::new(Arc::new(Outlets::new(Vec::new()))),
            retired: Mutex::default(),
            logs: journal.map(Logs::new),
        });
        let names = specs.iter().map(|spec| spec.name.clone());
        egress.prepare(names.collect()).await?;
        let consumers = Consumers::new(signal, Arc::clone(ledger));
        let mut outlets = Vec::with_capacity(specs.len());
        for (column, spec) in specs.into_iter().enumerate() {
            let spill = egress
                .spill(&consumers, column, &spec.name)
                .map_err(|error| (spec.name.clone(), error))?;
            outlets.push(consumers.start(column, spec, spill));
        }
        egress.outlets.send_replace(Arc::new(Outlets::new(outlets)));
        Ok((egress, consumers))
    }

    /// Opens the logs of these exporters, so that [`Egress::change`] need not.
    ///
    /// # Errors
    /// The first exporter whose log cannot be opened.
    pub(crate) async fn prepare(
        self: &Arc<Self>,
        exporters: Vec<String>,
    ) -> Result<(), (String, io::Error)> {
        if self.logs.is_none() {
            return Ok(());
        }
        let egress = Arc::clone(self);
        let opened = tokio::task::spawn_blocking(move || {
            let Some(logs) = &egress.logs else {
                return Ok(());
            };
            exporters.into_iter().try_for_each(|exporter| {
                let opened = logs.open(&exporter);
                opened.map(drop).map_err(|error| (exporter, error))
            })
        });
        match opened.await {
            Ok(opened) => opened,
            Err(cut) => Err((String::new(), io::Error::other(cut))),
        }
    }

    /// The way into an exporter's log; none in a pipeline without a journal.
    fn spill(
        &self,
        consumers: &Consumers,
        column: usize,
        exporter: &str,
    ) -> io::Result<Option<Arc<Spill>>> {
        let Some(logs) = &self.logs else {
            return Ok(None);
        };
        let log = logs.open(exporter)?;
        let mut spills = lock(&logs.spills);
        let spill = spills.entry(exporter.to_owned()).or_insert_with(|| {
            let ledger = Arc::clone(&self.ledger);
            let spill = Arc::new(Spill::new(ledger, column, exporter.to_owned(), log));
            consumers.start_spill(&spill);
            spill
        });
        Ok(Some(Arc::clone(spill)))
    }

    fn spills(&self) -> Vec<Arc<Spill>> {
        let logs = self.logs.iter();
        logs.flat_map(|logs| lock(&logs.spills).values().cloned().collect::<Vec<_>>())
            .collect()
    }

    /// Makes these the exporters. One that is the same as before goes on as it is, with its queue;
    /// the others are started, and those that are no more are retired.
    pub(crate) fn change(&self, consumers: &Consumers, specs: Vec<ExporterSpec>) {
        // Held to the end, so that there is one change at a time.
        let mut retired = self.retired();
        retired.retain(|(_, queue)| queue.strong_count() > 0);
        consumers.reap();
        let before = self.current();
        let names = specs.iter().map(|spec| spec.name.as_str());
        let columns = self.ledger.change_exporters(&names.collect::<Vec<_>>());
        let outlet = |(column, spec)| match before.like(&spec) {
            Some(same) => same,
            None => {
                tracing::info!(pipeline = self.ledger.pipeline(), exporter = %spec.name, "exporter started");
                let spill = self.spill(consumers, column, &spec.name);
                let spill = spill.unwrap_or_else(|error| {
                    let error: &dyn std::error::Error = &error;
                    tracing::error!(
                        pipeline = self.ledger.pipeline(), exporter = %spec.name, error,
                        "exporter's log cannot be opened, batches wait in memory only"
                    );
                    None
                });
                consumers.start(column, spec, spill)
            }
        };
        let after = columns.into_iter().zip(specs).map(outlet);
        let after = Outlets::new(after.collect());
        for outlet in before.without(&after) {
            let exporter = outlet.name();
            tracing::info!(
                pipeline = self.ledger.pipeline(),
                exporter,
                "exporter retired"
            );
            retired.push((outlet.column(), Arc::downgrade(outlet.queue())));
            outlet.retire();
        }
        for spill in self.spills() {
            if !after.has(spill.exporter()) {
                spill.lead_to(Weak::new());
            }
        }
        // Who waits for room begins anew with the new outlets, so only a change is told.
        self.outlets.send_if_modified(|outlets| {
            let changed = **outlets != after;
            if changed {
                *outlets = Arc::new(after);
            }
            changed
        });
    }

    /// Whether a full queue makes senders wait.
    pub(crate) fn makes_wait(&self) -> bool {
        let outlets = self.current();
        outlets
            .iter()
            .any(|outlet| outlet.queue().config().block_on_overflow)
    }

    /// A sender's room in every queue, now.
    pub(crate) fn try_reserve(&self, items: u64, bytes: usize) -> Room {
        let outlets = self.current();
        let room = outlets.try_reserve(items, bytes);
        let missing = || {
            let outlets = room.iter().zip(outlets.iter());
            outlets.filter_map(|(room, outlet)| room.is_none().then_some(outlet))
        };
        if missing().any(|outlet| !outlet.queue().config().block_on_overflow) {
            missing().for_each(|outlet| self.count_overflow(outlet, items));
            return Room::Full;
        }
        match room.into_iter().collect::<Option<Vec<_>>>() {
            Some(room) => Room::Taken(Permits::new(outlets, room)),
            None => Room::Wait,
        }
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
        let mut changes = self.outlets.subscribe();
        loop {
            let outlets = Arc::clone(&changes.borrow_and_update());
            tokio::select! {
                biased;
                room = outlets.wait_for_room(items, bytes, deadline) => return match room {
                    Ok(room) => Some(Permits::new(outlets, room)),
                    Err(full) => {
                        self.count_overflow(full, items);
                        None
                    }
                },
                // The sender of changes is this very value.
                changed = changes.changed() => changed.ok()?,
            }
        }
    }

    /// Waits for room for what was accepted before. The caller bounds the wait.
    pub(crate) async fn reserve(&self, lane: Lane, items: u64, bytes: usize) -> Option<Permits> {
        let mut changes = self.outlets.subscribe();
        loop {
            let outlets = Arc::clone(&changes.borrow_and_update());
            tokio::select! {
                biased;
                room = outlets.reserve(lane, items, bytes) => {
                    return Some(Permits::new(outlets, room?));
                }
                changed = changes.changed() => changed.ok()?,
            }
        }
    }

    fn count_overflow(&self, exporter: &Outlet, items: u64) {
        self.ledger
            .post_exporter(exporter.column(), |column| column.enqueue_failed += items);
    }

    /// Moves a batch out of the chain into every queue in which room was taken for it.
    pub(crate) fn forward(&self, batch: Batch, permits: &Permits) {
        if batch.items() > 0 {
            permits.forward(batch);
        }
    }

    /// How full each exporter's queue is, by its column in the books. A changed exporter's old queue
    /// counts until it is empty.
    pub(crate) fn fill(&self) -> Vec<QueueFill> {
        let retired = self.retired();
        let mut fill = vec![QueueFill::default(); self.ledger.exporters()];
        let mut add = |column: usize, queue: QueueFill, capacity| {
            if let Some(sum) = fill.get_mut(column) {
                sum.size += queue.size;
                sum.released += queue.released;
                sum.bytes += queue.bytes;
                sum.capacity += capacity;
            }
        };
        for outlet in self.current().iter() {
            let queue = outlet.fill();
            add(outlet.column(), queue, queue.capacity);
        }
        for (column, queue) in retired.iter() {
            // Its room is nobody's any more.
            if let Some(queue) = queue.upgrade() {
                add(*column, queue.fill(), 0);
            }
        }
        fill
    }

    /// Nothing more comes: the consumers end once the queues are empty.
    fn close(&self) {
        self.current()
            .iter()
            .for_each(|outlet| outlet.queue().close());
        let retired = self.retired();
        let queues = retired.iter().filter_map(|(_, queue)| queue.upgrade());
        queues.for_each(|queue| queue.close());
    }

    /// Waits until everything is out or in the logs; see [`Consumers::finish`].
    pub(crate) async fn finish(&self, consumers: Consumers, deadline: Instant) -> bool {
        self.close();
        consumers.finish(deadline, &self.spills()).await
    }

    /// Items in the exporters' logs.
    pub(crate) fn on_disk(&self) -> u64 {
        let spills = self.spills();
        spills.iter().map(|spill| spill.log_fill().items).sum()
    }

    fn current(&self) -> Arc<Outlets> {
        Arc::clone(&self.outlets.borrow())
    }

    fn retired(&self) -> MutexGuard<'_, Vec<(usize, Weak<Queue>)>> {
        lock(&self.retired)
    }
}
