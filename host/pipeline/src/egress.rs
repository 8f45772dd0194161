//! Egress: batches that leave the last stage go to each exporter's queue, and from there, in
//! several concurrent attempts with retries, to the backend.
//!
//! The exporters can change while batches are on their way: each batch leaves by the exporters by
//! which it was admitted. An exporter with changed settings keeps its queue, and sends the waiting
//! batches by the new settings. An exporter that is not named any more is *retired*: once the last
//! batch that was admitted for it is through, its queue closes by itself, and its consumer empties
//! it and ends.
//!
//! In a durable pipeline the part of a queue that is in memory is small, and batches that a backend
//! does not take in time wait in the exporter's log. The log belongs to the name, so an exporter
//! that comes back goes on with it.

mod backend;
mod consumer;
mod delivery;
mod disk;
mod disks;
mod drain_state;
mod exporter_queue;
mod exporters;
mod memory;
mod permits;
mod sender;
mod settings;

use std::io;
use std::sync::{Arc, Weak};

use parking_lot::{Mutex, MutexGuard};
use spandrel_wire::Signal;
use tokio::sync::watch;
use tokio::time::Instant;

pub(crate) use self::consumer::Consumers;
use self::disk::DiskQueue;
use self::disks::DiskQueues;
use self::exporters::{ExporterHandle, Exporters};
pub(crate) use self::permits::{Permits, Reservation, ReservedBatch};
use self::permits::{RoomRequest, RoomSearch};
use crate::backoff::RetryConfig;
use crate::batcher::BatcherConfig;
use crate::exporter::Exporter;
use crate::journal::Journal;
use crate::ledger::Ledger;
use crate::queue::{Queue, QueueConfig, QueueFill, RoomClass};

/// One exporter of a pipeline, with its own queue.
#[derive(Clone, Debug)]
pub struct ExporterSpec {
    /// Its name in the config; no other exporter of the pipeline has it.
    pub name: String,
    /// The exporter itself, which sends.
    pub exporter: Arc<dyn Exporter>,
    /// The bounds of its queue.
    pub queue: QueueConfig,
    /// The settings for merging batches before they go out, if they are merged.
    pub batcher: Option<BatcherConfig>,
    /// The settings for repeating failed attempts.
    pub retry: RetryConfig,
}

impl ExporterSpec {
    /// Returns true if an exporter that runs by one spec can run on by the other.
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

/// The queues of a pipeline; shards forward to it.
#[derive(Debug)]
pub(crate) struct Egress {
    ledger: Arc<Ledger>,
    exporters: watch::Sender<Arc<Exporters>>,
    /// Queues of removed exporters, by their columns, until they are empty.
    retired: Mutex<Vec<(usize, Weak<Queue>)>>,
    disks: Option<Arc<DiskQueues>>,
}

impl Egress {
    /// Makes the queues and starts the task of each exporter. The ledger has their columns.
    /// `keeps_all` means that a sender's OK promises that all of it will arrive, so no exporter may
    /// overflow alone. Reads and writes the files of the exporters' logs, if there are any.
    ///
    /// # Errors
    /// Returns the exporter whose log cannot be opened.
    pub(crate) async fn start(
        signal: Signal,
        ledger: &Arc<Ledger>,
        specs: Vec<ExporterSpec>,
        keeps_all: bool,
        journal: Option<Arc<dyn Journal>>,
    ) -> Result<(Arc<Self>, Consumers), (String, io::Error)> {
        let disks = journal.map(|journal| DiskQueues::new(Arc::clone(ledger), journal));
        let egress = Self {
            ledger: Arc::clone(ledger),
            exporters: watch::Sender::new(Arc::new(Exporters::new(Vec::new()))),
            retired: Mutex::default(),
            disks: disks.map(Arc::new),
        };
        let names = specs.iter().map(|spec| spec.name.clone());
        egress.prepare(names.collect()).await?;
        let consumers = Consumers::new(signal, Arc::clone(ledger), keeps_all);
        let mut exporters = Vec::with_capacity(specs.len());
        for (column, spec) in specs.into_iter().enumerate() {
            let disk = egress
                .disk(&consumers, column, &spec.name)
                .map_err(|error| (spec.name.clone(), error))?;
            exporters.push(consumers.start(column, spec, disk));
        }
        let exporters = Arc::new(Exporters::new(exporters));
        egress.exporters.send_replace(exporters);
        Ok((Arc::new(egress), consumers))
    }

    /// Opens the logs of these exporters, so that [`Egress::change`] need not.
    ///
    /// # Errors
    /// Returns the first exporter whose log cannot be opened.
    pub(crate) async fn prepare(&self, exporters: Vec<String>) -> Result<(), (String, io::Error)> {
        match &self.disks {
            Some(disks) => disks.prepare(exporters).await,
            None => Ok(()),
        }
    }

    /// Returns the part of an exporter's queue that is on the disk; `None` in a pipeline without a
    /// journal.
    fn disk(
        &self,
        consumers: &Consumers,
        column: usize,
        exporter: &str,
    ) -> io::Result<Option<Arc<DiskQueue>>> {
        let disks = self.disks.as_ref();
        disks
            .map(|disks| disks.start(consumers, column, exporter))
            .transpose()
    }

    fn all_disks(&self) -> Vec<Arc<DiskQueue>> {
        let disks = self.disks.as_ref();
        disks.map(|disks| disks.all()).unwrap_or_default()
    }

    /// Makes these the exporters. An exporter that is the same as before goes on as it is. One with
    /// other settings goes on by those, with its queue. New ones are started, and those that are
    /// not named any more are retired.
    pub(crate) fn change(&self, consumers: &Consumers, specs: Vec<ExporterSpec>) {
        // The lock is held to the end, so that there is one change at a time.
        let mut retired = self.retired();
        retired.retain(|(_, queue)| queue.strong_count() > 0);
        consumers.reap();
        let before = self.current();
        let names = specs.iter().map(|spec| spec.name.as_str());
        let columns = self.ledger.change_exporters(&names.collect::<Vec<_>>());
        let mut changed = false;
        let exporter = |(column, spec): (usize, ExporterSpec)| match before.named(&spec.name) {
            Some(known) => {
                if !known.settings().asked().is_same(&spec) {
                    changed = true;
                    self.tell_changed(&known);
                    consumers.change(&known, spec);
                }
                known
            }
            None => {
                tracing::info!(pipeline = self.ledger.pipeline(), exporter = %spec.name, "exporter started");
                let disk = self.disk(consumers, column, &spec.name);
                let disk = disk.unwrap_or_else(|error| {
                    let error: &dyn std::error::Error = &error;
                    tracing::error!(
                        pipeline = self.ledger.pipeline(), exporter = %spec.name, error,
                        "exporter's log cannot be opened, batches wait in memory only"
                    );
                    None
                });
                consumers.start(column, spec, disk)
            }
        };
        let after = columns.into_iter().zip(specs).map(exporter);
        let after = Exporters::new(after.collect());
        for gone in before.without(&after) {
            let exporter = gone.name();
            tracing::info!(
                pipeline = self.ledger.pipeline(),
                exporter,
                "exporter retired"
            );
            retired.push((gone.column(), Arc::downgrade(gone.memory())));
            gone.retire();
        }
        for disk in self.all_disks() {
            if !after.has(disk.exporter()) {
                disk.lead_to(Weak::new());
            }
        }
        // A reservation that waits for room begins anew when exporters are sent, so they are sent
        // only if they changed.
        self.exporters.send_if_modified(|exporters| {
            let changed = changed || **exporters != after;
            if changed {
                *exporters = Arc::new(after);
            }
            changed
        });
    }

    fn tell_changed(&self, exporter: &ExporterHandle) {
        let books = self.ledger.books();
        let column = books.exporters.get(exporter.column());
        tracing::info!(
            pipeline = self.ledger.pipeline(),
            exporter = exporter.name(),
            queued = column.map(|column| column.queued),
            "exporter changed, its queue is kept"
        );
    }

    /// Returns true if a full queue makes senders wait.
    pub(crate) fn makes_wait(&self) -> bool {
        self.current().iter().any(ExporterHandle::blocks)
    }

    /// Returns true if there is an exporter without whose room senders are refused.
    pub(crate) fn must_not_lose(&self) -> bool {
        self.current().iter().any(ExporterHandle::refuses)
    }

    /// Looks for room for a sender's batch, without waiting.
    pub(crate) fn try_reserve(&self, items: u64, bytes: usize) -> Reservation {
        let request = RoomRequest::new(RoomClass::Sent, items, bytes);
        let mut search = RoomSearch::new(self.current(), request);
        search.try_all();
        search.end_or_wait(&self.ledger)
    }

    /// Waits for room for a sender's batch, at most for
    /// [`OVERFLOW_WAIT`](crate::queue::OVERFLOW_WAIT). Does not wait for a full queue without
    /// `block_on_overflow`.
    pub(crate) async fn wait_for_room(&self, items: u64, bytes: usize) -> Reservation {
        let request = RoomRequest::new(RoomClass::Sent, items, bytes);
        let mut changes = self.exporters.subscribe();
        loop {
            let exporters = Arc::clone(&changes.borrow_and_update());
            let mut search = RoomSearch::new(exporters, request);
            tokio::select! {
                biased;
                () = search.wait() => return search.end(&self.ledger),
                // This cannot fail: the sender of changes is this very value.
                changed = changes.changed() => if changed.is_err() {
                    return Reservation::Refused;
                },
            }
        }
    }

    /// Waits for room for a batch that was accepted before. The caller bounds the wait.
    pub(crate) async fn reserve(
        &self,
        class: RoomClass,
        items: u64,
        bytes: usize,
    ) -> Option<Permits> {
        let mut changes = self.exporters.subscribe();
        loop {
            let exporters = Arc::clone(&changes.borrow_and_update());
            let mut search = RoomSearch::new(exporters, RoomRequest::new(class, items, bytes));
            tokio::select! {
                biased;
                found = search.wait_accepted() => {
                    found?;
                    return Some(search.into_permits());
                }
                changed = changes.changed() => changed.ok()?,
            }
        }
    }

    /// Returns the fill of each exporter's queue, by its column in the books. A removed exporter's
    /// queue counts until it is empty.
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
        for exporter in self.current().iter() {
            let queue = exporter.fill();
            add(exporter.column(), queue, queue.capacity);
        }
        for (column, queue) in retired.iter() {
            // Nobody can use the room of this queue any more.
            if let Some(queue) = queue.upgrade() {
                add(*column, queue.fill(), 0);
            }
        }
        fill
    }

    /// Closes the queues: nothing more comes, and the consumers end once the queues are empty.
    fn close(&self) {
        let exporters = self.current();
        exporters
            .iter()
            .for_each(|exporter| exporter.memory().close());
        let retired = self.retired();
        let queues = retired.iter().filter_map(|(_, queue)| queue.upgrade());
        queues.for_each(|queue| queue.close());
    }

    /// Waits until everything is out or in the logs; see [`Consumers::finish`].
    pub(crate) async fn finish(&self, consumers: Consumers, deadline: Instant) -> bool {
        self.close();
        consumers.finish(deadline, &self.all_disks()).await
    }

    /// Returns the number of items in the exporters' logs.
    pub(crate) fn on_disk(&self) -> u64 {
        let disks = self.all_disks();
        disks.iter().map(|disk| disk.log_fill().items).sum()
    }

    fn current(&self) -> Arc<Exporters> {
        Arc::clone(&self.exporters.borrow())
    }

    fn retired(&self) -> MutexGuard<'_, Vec<(usize, Weak<Queue>)>> {
        self.retired.lock()
    }
}
