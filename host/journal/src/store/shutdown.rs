//! Ends a journal. It does not wait for ever: a thread that is in a system call on a disk that does
//! not answer cannot be ended, so it is left behind.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};

use super::egress_logs::EgressLogs;
use crate::log::DurableLog;
use crate::segments::allocation::AllocationRequests;
use crate::vfs::Lock;

/// The parts of a journal that are ended once, with it.
#[derive(Debug)]
pub(super) struct Shutdown {
    allocations: AllocationRequests,
    allocator: JoinHandle<()>,
    /// The lock is released last: until then nobody else may write these files.
    lock: Box<dyn Lock>,
}

/// The last part to be closed, after all logs.
const FOLDER: &str = "the folder";

/// The names of the parts that are not closed yet.
#[derive(Clone, Debug, Default)]
struct OpenParts(Arc<Mutex<Vec<String>>>);

impl OpenParts {
    fn names(&self) -> MutexGuard<'_, Vec<String>> {
        self.0.lock()
    }
}

impl Shutdown {
    /// Keeps the parts for the end of the journal.
    pub(super) fn new(
        allocations: AllocationRequests,
        allocator: JoinHandle<()>,
        lock: Box<dyn Lock>,
    ) -> Self {
        Self {
            allocations,
            allocator,
            lock,
        }
    }

    /// Ends the journal in a thread of its own, and waits for that at most `limit`. With `clean` the
    /// next process is told that it was closed.
    pub(super) fn run_within(
        self,
        ingress: &Arc<DurableLog>,
        egress: &Arc<EgressLogs>,
        clean: bool,
        limit: Duration,
    ) -> io::Result<()> {
        let spawn = |end| {
            let thread = std::thread::Builder::new().name("journal-close".into());
            thread.spawn(end).map(drop)
        };
        self.run_on(spawn, ingress, egress, clean, limit)
    }

    fn run_on(
        self,
        spawn: impl FnOnce(Box<dyn FnOnce() + Send>) -> io::Result<()>,
        ingress: &Arc<DurableLog>,
        egress: &Arc<EgressLogs>,
        clean: bool,
        limit: Duration,
    ) -> io::Result<()> {
        let (mut logs, opening) = egress.end();
        logs.insert(0, Arc::clone(ingress));
        // Whatever the disk does, nothing new waits for it from now on.
        logs.iter().for_each(|log| log.close());
        let open = OpenParts::default();
        let names = logs.iter().map(|log| log.segments().name().to_owned());
        let opening = opening.iter().map(|name| format!("egress/{name}"));
        open.names()
            .extend(names.chain(opening).chain([FOLDER.to_owned()]));
        let (done, ended) = sync_channel(1);
        let (seen, egress) = (open.clone(), Arc::clone(egress));
        let left = Arc::new(Mutex::new(Some(self)));
        let taken = Arc::clone(&left);
        let end = move || {
            if let Some(shutdown) = take(&taken) {
                // The caller may have gone away.
                drop(done.send(shutdown.run(&logs, &egress, clean, &seen)));
            }
        };
        // Without a thread it is not known when the logs' threads have written their last bytes.
        // The folder stays locked for as long as the process lives, because another one would write
        // the same files.
        spawn(Box::new(end)).inspect_err(|_| std::mem::forget(take(&left)))?;
        match ended.recv_timeout(limit) {
            Ok(ended) => ended,
            Err(RecvTimeoutError::Timeout) => {
                let names = open.names().join(", ");
                let what = format!("the disk does not answer, not closed: {names}");
                Err(io::Error::new(io::ErrorKind::TimedOut, what))
            }
            Err(RecvTimeoutError::Disconnected) => {
                Err(io::Error::other("a thread of the journal panicked"))
            }
        }
    }

    fn run(
        self,
        logs: &[Arc<DurableLog>],
        egress: &EgressLogs,
        clean: bool,
        open: &OpenParts,
    ) -> io::Result<()> {
        let mut ended = Ok(());
        for log in logs {
            ended = ended.and(log.end(clean));
            open.names().retain(|name| name != log.segments().name());
        }
        // A caller that is opening a log now gets an error, and writes the log's files until then.
        egress.wait_for_openings();
        open.names().retain(|name| *name == FOLDER);
        self.allocations.end();
        drop(self.allocator.join());
        drop(self.lock);
        ended
    }
}

fn take(left: &Mutex<Option<Shutdown>>) -> Option<Shutdown> {
    left.lock().take()
}

#[cfg(test)]
mod tests {
    use crate::options::Options;
    use crate::recovery::OpenError;
    use crate::store::Store;

    use super::*;

    /// If no thread can be started for the close, the threads of the logs live on, and nobody else
    /// may have the folder.
    #[test]
    fn a_journal_that_cannot_be_closed_stays_locked() {
        let folder = tempfile::tempdir().unwrap();
        let options = Options::new(folder.path());
        let (store, _) = Store::open(options.clone()).unwrap();
        let shutdown = store.shutdown.lock().take().unwrap();
        let spawn = |_| Err(io::ErrorKind::WouldBlock.into());
        let limit = Duration::from_secs(60);
        let error = shutdown.run_on(spawn, &store.ingress, &store.egress, true, limit);
        assert_eq!(error.unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(store);
        let again = Store::open(options);
        assert!(matches!(again, Err(OpenError::Locked { .. })), "{again:?}");
    }
}
