//! Egress: batches that leave the last stage go to each exporter's queue, and from there, in
//! several concurrent attempts with retries, to the backend.
//!
//! The exporters can change while batches are on their way: each batch leaves by the outlets by
//! which it was admitted. An exporter with changed settings keeps its queue, and sends the waiting
//! batches by the new settings. An exporter that is not among the outlets any more is *retired*:
//! once the last batch that was admitted for it is through, its queue closes by itself, and its
//! consumer empties it and ends.
//!
//! In a durable pipeline a queue is small, and batches that a backend does not take in time wait in
//! the exporter's log. The log belongs to the name, so an exporter that comes back goes on with it.

mod attempt;
mod consumer;
mod known;
mod leaving;
mod logs;
mod outlets;
mod permits;
mod settings;
mod spill;

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use spandrel_wire::Signal;
use tokio::sync::watch;
use tokio::time::Instant;

pub(crate) use self::consumer::Consumers;
use self::logs::Logs;
use self::outlets::{Outlet, Outlets};
pub(crate) use self::permits::{Permits, Room};
use self::spill::Spill;
use crate::backoff::RetryConfig;
use crate::batch::Batch;
use crate::batcher::BatcherConfig;
use crate::exporter::Exporter;
use crate::journal::Journal;
use crate::ledger::Ledger;
use crate::queue::{Queue, QueueConfig, QueueFill};

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
    outlets: watch::Sender<Arc<Outlets>>,
    /// Queues of removed exporters, by their columns, until they are empty.
    retired: Mutex<Vec<(usize, Weak<Queue>)>>,
    logs: Option<Logs>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
        let egress = Arc::new(Self {
            ledger: Arc::clone(ledger),
            outlets: watch::Sender::new(Arc::new(Outlets::new(Vec::new()))),
            retired: Mutex::default(),
            logs: journal.map(Logs::new),
        });
        let names = specs.iter().map(|spec| spec.name.clone());
        egress.prepare(names.collect()).await?;
        let consumers = Consumers::new(signal, Arc::clone(ledger), keeps_all);
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
    /// Returns the first exporter whose log cannot be opened.
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

    /// Returns the way into an exporter's log; `None` in a pipeline without a journal.
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
        let outlet = |(column, spec): (usize, ExporterSpec)| match before.named(&spec.name) {
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
        // A reservation that waits for room begins anew when outlets are sent, so they are sent
        // only if they changed.
        self.outlets.send_if_modified(|outlets| {
            let changed = changed || **outlets != after;
            if changed {
                *outlets = Arc::new(after);
            }
            changed
        });
    }

    fn tell_changed(&self, outlet: &Outlet) {
        let books = self.ledger.books();
        let column = books.exporters.get(outlet.column());
        tracing::info!(
            pipeline = self.ledger.pipeline(),
            exporter = outlet.name(),
            queued = column.map(|column| column.queued),
            "exporter changed, its queue is kept"
        );
    }

    /// Moves a batch out of the chain into every queue in which room was taken for it.
    pub(crate) fn forward(&self, batch: Batch, permits: &Permits) {
        if batch.items() > 0 {
            permits.forward(batch);
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
        for outlet in self.current().iter() {
            let queue = outlet.fill();
            add(outlet.column(), queue, queue.capacity);
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
        let outlets = self.current();
        outlets.iter().for_each(|outlet| outlet.queue().close());
        let retired = self.retired();
        let queues = retired.iter().filter_map(|(_, queue)| queue.upgrade());
        queues.for_each(|queue| queue.close());
    }

    /// Waits until everything is out or in the logs; see [`Consumers::finish`].
    pub(crate) async fn finish(&self, consumers: Consumers, deadline: Instant) -> bool {
        self.close();
        consumers.finish(deadline, &self.spills()).await
    }

    /// Returns the number of items in the exporters' logs.
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
