//! The logs of one pipeline in one directory, which one process has at a time.

mod ending;
mod names;
mod opened;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use spandrel_pipeline::journal::{Journal, Log};
use tokio::time::Instant;

use crate::counters::{Counted, Counters, Quota};
use crate::log::DurableLog;
use crate::options::Options;
use crate::prepare::prepare;
use crate::recover::RecoveredLog;
use crate::state::Shared;
use crate::vfs::{Disk, Vfs};
use crate::writer::Writer;
use ending::Ending;
pub(crate) use opened::Opened;
use opened::Parts;

/// Logs that wait for a segment: more than a pipeline has.
const MOST_ORDERS: usize = 1024;

/// Between two looks at what may have become too old: little against any age that makes sense.
const EXPIRY: Duration = Duration::from_secs(60);

/// The close is waited for so long where nobody says how long: a disk that works takes less, also when
/// it is slow and has much to write.
const CLOSE: Duration = Duration::from_secs(30);
/// The end without a close, which writes nothing but what is being written: whoever lets go of a
/// journal may be in a hurry.
const DROP: Duration = Duration::from_secs(5);

/// Why a journal was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it: two that write the same files would ruin them.
    #[error("the journal in {} is in use by process {}", path.display(), pid.map_or_else(|| "unknown".to_owned(), |pid| pid.to_string()))]
    Locked {
        /// The directory.
        path: PathBuf,
        /// The other process, when it has said so.
        pid: Option<u32>,
    },
    /// It is damaged, and shall not be opened then.
    #[error("the journal in {} is damaged: {lost} records are lost, {headers} headers are unreadable", path.display())]
    Damaged {
        /// The directory of the log.
        path: PathBuf,
        /// Acknowledged records that are lost.
        lost: u64,
        /// Headers of segments and checkpoints that cannot be read.
        headers: u64,
    },
    /// A later release wrote it.
    #[error("{} has layout {version}, which this release does not know", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its layout.
        version: u32,
    },
    /// The system does not let us.
    #[error("cannot {what} {}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// What was found when a journal was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// The ingress log first, then the egress logs by the names of their exporters.
    pub logs: Vec<RecoveredLog>,
    /// How long it took.
    pub elapsed: Duration,
}

impl Recovered {
    /// Whether the last process closed all of its logs.
    #[must_use]
    pub fn ended_well(&self) -> bool {
        self.logs.iter().all(|log| log.ended_well)
    }

    /// Acknowledged records that are lost.
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
    orders: Orders,
    pub(crate) ingress: Arc<DurableLog>,
    pub(crate) egress: Arc<Mutex<BTreeMap<String, Egress>>>,
    /// Until it is closed.
    ending: Mutex<Option<Ending>>,
}

#[derive(Debug)]
pub(crate) struct Egress {
    log: Arc<DurableLog>,
    /// Whether an exporter asked for it.
    asked: bool,
}

/// Asks for segments to be prepared.
#[derive(Clone, Debug)]
pub(crate) struct Orders(SyncSender<Option<Arc<Shared>>>);

impl Orders {
    /// Has the next segment prepared, unless that is done or being done.
    pub(crate) fn prepare(&self, writer: &Writer) {
        let shared = writer.shared();
        if shared.begin_preparing() && self.0.try_send(Some(Arc::clone(shared))).is_err() {
            shared.state().preparing = false;
        }
    }
}

impl Store {
    /// Opens the journal in a directory, and says what is in it. Reads all of it: not for a thread
    /// of the runtime.
    ///
    /// # Errors
    /// [`OpenError`]. Damage is none, unless [`Options::strict`] says so.
    pub fn open(options: Options) -> Result<(Arc<Self>, Recovered), OpenError> {
        Self::open_on(Arc::new(Disk), options)
    }

    /// Opens it on other files.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open_on(
        vfs: Arc<dyn Vfs>,
        options: Options,
    ) -> Result<(Arc<Self>, Recovered), OpenError> {
        let began = Instant::now();
        let opened = Opened::new(vfs, options)?;
        let (orders, incoming) = sync_channel(MOST_ORDERS);
        let orders = Orders(orders);
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
                let log = Arc::new(DurableLog::new(shared, keeper));
                (name, Egress { log, asked: false })
            });
        let egress = Arc::new(Mutex::new(egress.collect()));
        let kept = Arc::clone(&egress);
        let preparer = std::thread::Builder::new()
            .name("journal-prepare".into())
            .spawn(move || prepare_each(&incoming, &kept))
            .map_err(io)?;
        let (shared, keeper, _) = opened.ingress;
        let ingress = DurableLog::new(shared, keeper);
        ingress.start(&orders).map_err(io)?;
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
            orders: orders.clone(),
            ingress: Arc::new(ingress),
            egress,
            ending: Mutex::new(Some(Ending {
                orders,
                preparer,
                lock: opened.lock,
            })),
        };
        Ok((Arc::new(store), recovered))
    }

    /// Egress logs of exporters that nobody asked for, with the items that wait in them.
    #[must_use]
    pub fn orphans(&self) -> Vec<(String, u64)> {
        let egress = self.egress();
        let orphans = egress.iter().filter(|(_, egress)| !egress.asked);
        let items = orphans.map(|(name, egress)| (name.clone(), egress.log.fill().items));
        items.filter(|(_, items)| *items > 0).collect()
    }

    /// What it did so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let logs = self.logs();
        let segments = logs.iter().map(|log| {
            let state = log.shared.state();
            state.segments.len() + state.ready.len()
        });
        Counters {
            segments: u64::try_from(segments.sum::<usize>()).unwrap_or(u64::MAX),
            disk_bytes: self.quota.used(),
            ..self.counted.read()
        }
    }

    /// Writes what waits and tells the next process that all is well. Appends fail from then on.
    /// Waits for the disk: not for a thread of the runtime.
    ///
    /// # Errors
    /// When the next process cannot be told: it finds everything all the same.
    pub fn close(&self) -> io::Result<()> {
        self.close_within(CLOSE)
    }

    /// The same, waiting for so long at most. A disk that does not answer by then is left to a thread
    /// that goes on by itself, and keeps the journal locked for as long as it does.
    ///
    /// # Errors
    /// As before; `TimedOut` when time was up: which logs are not closed.
    pub fn close_within(&self, limit: Duration) -> io::Result<()> {
        self.end(true, limit)
    }

    fn end(&self, well: bool, limit: Duration) -> io::Result<()> {
        let mut ending = self.ending.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(ending) = ending.take() else {
            return Ok(());
        };
        ending.within(self.logs(), well, limit)
    }

    fn logs(&self) -> Vec<Arc<DurableLog>> {
        let mut logs = vec![Arc::clone(&self.ingress)];
        logs.extend(self.egress().values().map(|egress| Arc::clone(&egress.log)));
        logs
    }

    fn egress(&self) -> MutexGuard<'_, BTreeMap<String, Egress>> {
        self.egress.lock().unwrap_or_else(PoisonError::into_inner)
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
        let mut logs = Self::egress(self);
        if let Some(egress) = logs.get_mut(exporter) {
            egress.asked = true;
            egress.log.start(&self.orders)?;
            return Ok(Arc::clone(&egress.log) as Arc<dyn Log>);
        }
        let parts = Parts {
            vfs: &self.vfs,
            options: &self.options,
            quota: &self.quota,
            counted: &self.counted,
        };
        let (shared, keeper, _) = parts.log(Some(exporter)).map_err(io::Error::other)?;
        let log = Arc::new(DurableLog::new(shared, keeper));
        log.start(&self.orders)?;
        let egress = Egress {
            log: Arc::clone(&log),
            asked: true,
        };
        logs.insert(exporter.to_owned(), egress);
        Ok(log)
    }
}

/// The thread that prepares segments, and looks each minute after the logs that nobody has.
fn prepare_each(orders: &Receiver<Option<Arc<Shared>>>, egress: &Mutex<BTreeMap<String, Egress>>) {
    let mut expired = Instant::now();
    loop {
        match orders.recv_timeout(EXPIRY.saturating_sub(expired.elapsed())) {
            Ok(Some(shared)) => prepare(&shared),
            Err(RecvTimeoutError::Timeout) => {}
            Ok(None) | Err(RecvTimeoutError::Disconnected) => return,
        }
        if expired.elapsed() >= EXPIRY {
            expire_unused(egress);
            expired = Instant::now();
        }
    }
}

/// Finishes what is too old in the logs of exporters that are no more: nobody reads these, and they
/// would fill the journal. Those of the others are for who reads them, and keeps books of it.
pub(crate) fn expire_unused(egress: &Mutex<BTreeMap<String, Egress>>) {
    let unused: Vec<Arc<DurableLog>> = {
        let egress = egress.lock().unwrap_or_else(PoisonError::into_inner);
        let unused = egress.values();
        let unused = unused.filter(|egress| !egress.asked || Arc::strong_count(&egress.log) == 1);
        unused.map(|egress| Arc::clone(&egress.log)).collect()
    };
    for log in unused {
        log.expire();
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
