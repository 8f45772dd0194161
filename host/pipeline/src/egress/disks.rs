//! The parts of the exporters' queues that are on the disk.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

use super::consumer::Consumers;
use super::disk::DiskQueue;
use crate::journal::{Journal, Log};
use crate::ledger::Ledger;

/// The parts of the exporters' queues that are on the disk, in a durable pipeline.
#[derive(Debug)]
pub(super) struct DiskQueues {
    ledger: Arc<Ledger>,
    journal: Arc<dyn Journal>,
    /// The opened logs, by the exporter's name.
    open: Mutex<BTreeMap<String, Arc<dyn Log>>>,
    /// The queues that are or were in use, by the exporter's name: their content is in the books.
    queues: Mutex<BTreeMap<String, Arc<DiskQueue>>>,
}

impl DiskQueues {
    pub(super) fn new(ledger: Arc<Ledger>, journal: Arc<dyn Journal>) -> Self {
        Self {
            ledger,
            journal,
            open: Mutex::default(),
            queues: Mutex::default(),
        }
    }

    /// Opens the logs of these exporters, so that [`DiskQueues::start`] need not.
    ///
    /// # Errors
    /// Returns the first exporter whose log cannot be opened.
    pub(super) async fn prepare(
        self: &Arc<Self>,
        exporters: Vec<String>,
    ) -> Result<(), (String, io::Error)> {
        let disks = Arc::clone(self);
        let opened = tokio::task::spawn_blocking(move || {
            exporters.into_iter().try_for_each(|exporter| {
                let opened = disks.log(&exporter);
                opened.map(drop).map_err(|error| (exporter, error))
            })
        });
        match opened.await {
            Ok(opened) => opened,
            Err(cut) => Err((String::new(), io::Error::other(cut))),
        }
    }

    /// Returns the queue of an exporter, whose column in the books is `column`. If it is not in use
    /// yet, starts the tasks that write it and load from it.
    ///
    /// # Errors
    /// If its log is not open yet and cannot be opened.
    pub(super) fn start(
        &self,
        consumers: &Consumers,
        column: usize,
        exporter: &str,
    ) -> io::Result<Arc<DiskQueue>> {
        let log = self.log(exporter)?;
        let mut queues = self.queues.lock();
        let queue = queues.entry(exporter.to_owned()).or_insert_with(|| {
            let ledger = Arc::clone(&self.ledger);
            let queue = Arc::new(DiskQueue::new(ledger, column, exporter.to_owned(), log));
            consumers.start_disk(&queue);
            queue
        });
        Ok(Arc::clone(queue))
    }

    /// Returns the queues that are or were in use.
    pub(super) fn all(&self) -> Vec<Arc<DiskQueue>> {
        self.queues.lock().values().cloned().collect()
    }

    /// Returns the log of an exporter. Reads and writes files if it is not open yet.
    fn log(&self, exporter: &str) -> io::Result<Arc<dyn Log>> {
        if let Some(log) = self.open.lock().get(exporter) {
            return Ok(Arc::clone(log));
        }
        let log = self.journal.egress(exporter)?;
        self.open
            .lock()
            .insert(exporter.to_owned(), Arc::clone(&log));
        Ok(log)
    }
}
