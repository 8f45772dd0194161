//! The logs of one pipeline in one directory, which only one process may use at a time.

mod dir_names;
mod egress_logs;
mod handover;
mod open;
mod shutdown;

use std::io;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt};
use spandrel_pipeline::journal::{Journal, Log};
use tokio::time::Instant;

use crate::counters::{Counted, Counters, Quota};
use crate::log::DurableLog;
use crate::options::Options;
use crate::recovery::{OpenError, RecoveredLog};
use crate::segments::Shared;
use crate::segments::allocation::{AllocationRequests, prepare};
use crate::vfs::{Disk, Vfs};
use egress_logs::EgressLogs;
pub(crate) use open::Opened;
use open::Parts;
use shutdown::Shutdown;

/// The time between two looks for expired records: little against any age that makes sense.
const EXPIRY: Duration = Duration::from_secs(60);

/// The longest wait for a close if the caller does not set one: a disk that works takes less, even
/// if it is slow and has much to write.
const CLOSE: Duration = Duration::from_secs(30);
/// The longest wait for an end without a close, which writes nothing but what is being written: a
/// caller that drops a journal may be in a hurry.
const DROP: Duration = Duration::from_secs(5);

/// The contents of a journal when it was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// The ingress log first, then the egress logs by the names of their exporters.
    pub logs: Vec<RecoveredLog>,
    /// The time that it took.
    pub elapsed: Duration,
}

impl Recovered {
    /// Returns true if the last process closed all of its logs.
    #[must_use]
    pub fn ended_well(&self) -> bool {
        self.logs.iter().all(|log| log.ended_well)
    }

    /// Returns the number of acknowledged records that are lost.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.logs.iter().map(|log| log.lost).sum()
    }
}

/// The journal of one pipeline, open.
#[derive(Debug)]
pub struct Store {
    vfs: Arc<dyn Vfs>,
    options: Arc<Options>,
    quota: Arc<Quota>,
    counted: Arc<Counted>,
    allocations: AllocationRequests,
    pub(crate) ingress: Arc<DurableLog>,
    pub(crate) egress: Arc<EgressLogs>,
    /// The parts that end with the journal; `None` once it is closed.
    ending: Mutex<Option<Shutdown>>,
}

impl Store {
    /// Opens the journal in a directory, and reports what is in it. It reads all of the journal, so
    /// do not call it on a thread of the runtime.
    ///
    /// # Errors
    /// Returns an [`OpenError`]. Damage is no error, unless [`Options::strict`] is set.
    pub fn open(options: Options) -> Result<(Arc<Self>, Recovered), OpenError> {
        Self::open_on(Arc::new(Disk), options)
    }

    /// Opens a journal on other files.
    ///
    /// # Errors
    /// Returns an [`OpenError`].
    pub fn open_on(
        vfs: Arc<dyn Vfs>,
        options: Options,
    ) -> Result<(Arc<Self>, Recovered), OpenError> {
        let began = Instant::now();
        let opened = Opened::new(vfs, options)?;
        let (allocations, incoming) = AllocationRequests::new();
        let io = |source| OpenError::Io {
            what: "start a thread for",
            path: opened.options.dir.clone(),
            source,
        };
        let mut logs = vec![opened.ingress.2.clone()];
        let egress = opened
            .egress
            .into_iter()
            .map(|(name, (shared, keeper, log))| {
                logs.push(log);
                (name, DurableLog::new(shared, keeper))
            });
        let egress = Arc::new(EgressLogs::new(egress));
        let kept = Arc::clone(&egress);
        let preparer = std::thread::Builder::new()
            .name("journal-prepare".into())
            .spawn(move || prepare_each(&incoming, &kept))
            .map_err(io)?;
        let (shared, keeper, _) = opened.ingress;
        let ingress = DurableLog::new(shared, keeper);
        ingress.start(&allocations).map_err(io)?;
        let recovered = Recovered {
            logs,
            elapsed: began.elapsed(),
        };
        report(&opened.options.dir, &recovered);
        let store = Self {
            vfs: opened.vfs,
            options: opened.options,
            quota: opened.quota,
            counted: opened.counted,
            allocations: allocations.clone(),
            ingress: Arc::new(ingress),
            egress,
            ending: Mutex::new(Some(Shutdown {
                allocations,
                preparer,
                lock: opened.lock,
            })),
        };
        Ok((Arc::new(store), recovered))
    }

    /// Returns the egress logs of exporters that nobody asked for, with the items that wait in
    /// them.
    #[must_use]
    pub fn orphans(&self) -> Vec<(String, u64)> {
        let orphans = self.egress.unasked().into_iter();
        let items = orphans.map(|(name, log)| (name, log.fill().items));
        items.filter(|(_, items)| *items > 0).collect()
    }

    fn handover(&self) -> handover::Place {
        handover::Place {
            vfs: Arc::clone(&self.vfs),
            quota: Arc::clone(&self.quota),
            dir: self.options.dir.clone(),
        }
    }

    /// Returns the counters so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let egress = self.egress.logs();
        let logs = egress.iter().chain([&self.ingress]);
        let segments = logs.map(|log| {
            let state = log.shared.state();
            state.segments.len() + state.ready.len()
        });
        Counters {
            segments: u64::try_from(segments.sum::<usize>()).unwrap_or(u64::MAX),
            disk_bytes: self.quota.used(),
            ..self.counted.read()
        }
    }

    /// Writes what waits and tells the next process that all is well. Appends fail from then on. It
    /// waits for the disk, so do not call it on a thread of the runtime.
    ///
    /// # Errors
    /// Fails if the next process cannot be told. That process finds everything all the same.
    pub fn close(&self) -> io::Result<()> {
        self.close_within(CLOSE)
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

    fn end(&self, well: bool, limit: Duration) -> io::Result<()> {
        let mut ending = self.ending.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(ending) = ending.take() else {
            return Ok(());
        };
        ending.within(&self.ingress, &self.egress, well, limit)
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if let Err(error) = self.end(false, DROP) {
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
            let parts = Parts {
                vfs: &self.vfs,
                options: &self.options,
                quota: &self.quota,
                counted: &self.counted,
            };
            let (shared, keeper, _) = parts.log(Some(exporter)).map_err(io::Error::other)?;
            Ok(DurableLog::new(shared, keeper))
        };
        let log = self.egress.get(exporter, &self.allocations, open)?;
        Ok(log)
    }

    fn put_handover(&self, parts: Vec<Bytes>) -> BoxFuture<'static, io::Result<()>> {
        let place = self.handover();
        blocking(move || place.put(&parts))
    }

    fn take_handover(&self) -> BoxFuture<'static, io::Result<Option<Bytes>>> {
        let place = self.handover();
        blocking(move || place.take())
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

/// Prepares segments in a thread, and looks each minute for expired records in logs that nobody
/// uses.
fn prepare_each(incoming: &Receiver<Option<Arc<Shared>>>, egress: &EgressLogs) {
    let mut expired = Instant::now();
    loop {
        match incoming.recv_timeout(EXPIRY.saturating_sub(expired.elapsed())) {
            Ok(Some(shared)) => prepare(&shared),
            Err(RecvTimeoutError::Timeout) => {}
            Ok(None) | Err(RecvTimeoutError::Disconnected) => return,
        }
        if expired.elapsed() >= EXPIRY {
            egress.expire_unused();
            expired = Instant::now();
        }
    }
}

fn report(dir: &Path, recovered: &Recovered) {
    let elapsed_ms = u64::try_from(recovered.elapsed.as_millis()).unwrap_or(u64::MAX);
    let sum = |field: fn(&RecoveredLog) -> u64| recovered.logs.iter().map(field).sum::<u64>();
    let (records, items) = (sum(|log| log.records), sum(|log| log.items));
    let (expired, torn) = (sum(|log| log.expired_items), sum(|log| log.torn_bytes));
    let ended_well = recovered.ended_well();
    let dir = dir.display();
    tracing::info!(
        %dir, elapsed_ms, records, items, expired, torn, ended_well,
        "journal opened"
    );
    for log in recovered.logs.iter().filter(|log| log.expired > 0) {
        let exporter = log.exporter.as_deref().unwrap_or_default();
        let (records, items) = (log.expired, log.expired_items);
        tracing::warn!(%dir, exporter, records, items, "journal records expired");
    }
    for log in recovered.logs.iter().filter(|log| log.is_damaged()) {
        let exporter = log.exporter.as_deref().unwrap_or_default();
        let (lost, headers) = (log.lost, log.damaged_headers);
        let (unread, unread_records) = (log.unread, log.unread_records);
        tracing::error!(
            %dir, exporter, lost, headers, unread, unread_records,
            "journal damaged"
        );
    }
}
