//! The logs of one pipeline in one directory, which only one process may use at a time.

mod dir_names;
mod egress_logs;
mod handover;
mod open;
mod shutdown;

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt};
use parking_lot::Mutex;
use spandrel_pipeline::journal::{Journal, Log};
use tokio::time::Instant;

use crate::counters::Counters;
use crate::log::DurableLog;
use crate::options::Options;
use crate::recovery::{OpenError, Recovery};
use crate::resources::Resources;
use crate::segments::Segments;
use crate::segments::allocation::{AllocationRequests, allocate_ahead};
use crate::vfs::{Disk, Vfs};
use egress_logs::EgressLogs;
use handover::HandoverFile;
pub(crate) use open::{OpenJournal, open_log};
use shutdown::Shutdown;

/// The time between two looks for expired records: little against any age that makes sense.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(60);

/// The longest wait for a close if the caller does not set one: a disk that works takes less, even
/// if it is slow and has much to write.
const CLOSE_LIMIT: Duration = Duration::from_secs(30);

/// The longest wait for an end without a close, which writes nothing but what is being written: a
/// caller that drops a journal may be in a hurry.
const DROP_LIMIT: Duration = Duration::from_secs(5);

/// The journal of one pipeline, open.
#[derive(Debug)]
pub struct Store {
    resources: Resources,
    allocations: AllocationRequests,
    ingress: Arc<DurableLog>,
    egress: Arc<EgressLogs>,
    /// The parts that end with the journal; `None` once it is closed.
    shutdown: Mutex<Option<Shutdown>>,
}

impl Store {
    /// Opens the journal in a directory, and reports what is in it. It reads all of the journal, so
    /// do not call it on a thread of the runtime.
    ///
    /// # Errors
    /// Returns an [`OpenError`]. Damage is no error, unless [`Options::strict`] is set.
    pub fn open(options: Options) -> Result<(Arc<Self>, Recovery), OpenError> {
        Self::open_on(Arc::new(Disk), options)
    }

    /// Opens a journal on other files.
    ///
    /// # Errors
    /// Returns an [`OpenError`].
    pub fn open_on(
        vfs: Arc<dyn Vfs>,
        options: Options,
    ) -> Result<(Arc<Self>, Recovery), OpenError> {
        let began = Instant::now();
        let journal = OpenJournal::new(vfs, options)?;
        let resources = journal.resources;
        let io = |source| OpenError::Io {
            what: "start a thread for",
            path: resources.options.dir.clone(),
            source,
        };
        let mut logs = vec![journal.ingress.report.clone()];
        let egress = journal.egress.into_iter().map(|(name, log)| {
            logs.push(log.report);
            (name, DurableLog::new(log.segments, log.checkpointer))
        });
        let egress = Arc::new(EgressLogs::new(egress));
        let (allocations, incoming) = AllocationRequests::new();
        let logs_to_expire = Arc::clone(&egress);
        let allocator = std::thread::Builder::new()
            .name("journal-alloc".into())
            .spawn(move || run_allocator(&incoming, &logs_to_expire))
            .map_err(io)?;
        let ingress = DurableLog::new(journal.ingress.segments, journal.ingress.checkpointer);
        ingress.start(&allocations).map_err(io)?;
        let recovery = Recovery {
            logs,
            elapsed: began.elapsed(),
        };
        recovery.report(&resources.options.dir);
        let shutdown = Shutdown::new(allocations.clone(), allocator, journal.lock);
        let store = Self {
            resources,
            allocations,
            ingress: Arc::new(ingress),
            egress,
            shutdown: Mutex::new(Some(shutdown)),
        };
        Ok((Arc::new(store), recovery))
    }

    /// Returns the egress logs of exporters that nobody asked for, with the items that wait in
    /// them.
    #[must_use]
    pub fn orphans(&self) -> Vec<(String, u64)> {
        let orphans = self.egress.unused().into_iter();
        let items = orphans.map(|(name, log)| (name, log.fill().items));
        items.filter(|(_, items)| *items > 0).collect()
    }

    fn handover(&self) -> HandoverFile {
        let Resources {
            vfs,
            quota,
            options,
            ..
        } = self.resources.clone();
        HandoverFile::new(vfs, quota, &options.dir)
    }

    /// Returns the counters so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let egress = self.egress.logs();
        let logs = egress.iter().chain([&self.ingress]);
        let segments = logs.map(|log| log.segments().count());
        Counters {
            segments: u64::try_from(segments.sum::<usize>()).unwrap_or(u64::MAX),
            disk_bytes: self.resources.quota.used(),
            ..self.resources.counters.snapshot()
        }
    }

    /// Writes the waiting records and tells the next process that all is well. Appends fail from
    /// then on. It waits for the disk, so do not call it on a thread of the runtime.
    ///
    /// # Errors
    /// Fails if that cannot be recorded. The next process finds everything all the same.
    pub fn close(&self) -> io::Result<()> {
        self.close_within(CLOSE_LIMIT)
    }

    /// Closes the journal like [`Store::close`], but waits at most this long. A disk that does not
    /// answer by then is left to a thread that goes on by itself, and keeps the journal locked for
    /// as long as it does.
    ///
    /// # Errors
    /// Fails like [`Store::close`]. The error is `TimedOut` if time was up, and names the logs that
    /// are not closed.
    pub fn close_within(&self, limit: Duration) -> io::Result<()> {
        self.end(true, limit)
    }

    fn end(&self, clean: bool, limit: Duration) -> io::Result<()> {
        let mut shutdown = self.shutdown.lock();
        let Some(shutdown) = shutdown.take() else {
            return Ok(());
        };
        shutdown.run_within(&self.ingress, &self.egress, clean, limit)
    }

    /// Returns the ingress log.
    #[cfg(test)]
    pub(crate) fn ingress_log(&self) -> &DurableLog {
        &self.ingress
    }

    /// Finishes the expired records in the logs that nobody uses.
    #[cfg(test)]
    pub(crate) fn expire_unused(&self) {
        self.egress.expire_unused();
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if let Err(error) = self.end(false, DROP_LIMIT) {
            tracing::debug!(%error, "journal not ended");
        }
    }
}

impl Journal for Store {
    fn ingress(&self) -> Arc<dyn Log> {
        Arc::clone(&self.ingress) as Arc<dyn Log>
    }

    fn egress(&self, exporter: &str) -> io::Result<Arc<dyn Log>> {
        let open = || {
            let log = open_log(&self.resources, Some(exporter)).map_err(io::Error::other)?;
            Ok(DurableLog::new(log.segments, log.checkpointer))
        };
        let log = self.egress.get(exporter, &self.allocations, open)?;
        Ok(log)
    }

    fn put_handover(&self, parts: Vec<Bytes>) -> BoxFuture<'static, io::Result<()>> {
        let file = self.handover();
        blocking(move || file.put(&parts))
    }

    fn take_handover(&self) -> BoxFuture<'static, io::Result<Option<Bytes>>> {
        let file = self.handover();
        blocking(move || file.take())
    }
}

/// Reads or writes files in a thread that may wait for the disk.
fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> BoxFuture<'static, io::Result<T>> {
    async move {
        let done = tokio::task::spawn_blocking(work).await;
        done.unwrap_or_else(|error| Err(io::Error::other(error)))
    }
    .boxed()
}

/// Allocates segments ahead of their use, and looks each minute for expired records in logs that
/// nobody uses.
fn run_allocator(incoming: &Receiver<Option<Arc<Segments>>>, egress: &EgressLogs) {
    let mut expired = Instant::now();
    loop {
        match incoming.recv_timeout(EXPIRY_INTERVAL.saturating_sub(expired.elapsed())) {
            Ok(Some(segments)) => allocate_ahead(&segments),
            Err(RecvTimeoutError::Timeout) => {}
            Ok(None) | Err(RecvTimeoutError::Disconnected) => return,
        }
        if expired.elapsed() >= EXPIRY_INTERVAL {
            egress.expire_unused();
            expired = Instant::now();
        }
    }
}
