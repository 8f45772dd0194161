//! The egress logs of a journal, one for each exporter. Files are read and made outside of the
//! mutex: a disk that does not answer blocks only those who want the log that is being opened on
//! it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::log::{DurableLog, closed};
use crate::segments::allocation::AllocationRequests;

/// The egress logs of a journal, by exporter.
#[derive(Debug, Default)]
pub(crate) struct EgressLogs {
    state: Mutex<State>,
    /// Notified when a log was opened, or could not be, and when all end.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    logs: BTreeMap<String, EgressLog>,
    /// Logs that are being opened. A second opening would write the same files.
    opening: BTreeSet<String>,
    /// Set once: no log is opened after it.
    ended: bool,
}

#[derive(Debug)]
struct EgressLog {
    log: Arc<DurableLog>,
    /// True if an exporter asked for it.
    used: bool,
}

impl EgressLogs {
    /// Starts with the logs that were found.
    pub(super) fn new(found: impl IntoIterator<Item = (String, DurableLog)>) -> Self {
        let unused = |(name, log)| {
            let log = Arc::new(log);
            (name, EgressLog { log, used: false })
        };
        let logs = Self::default();
        logs.state().logs = found.into_iter().map(unused).collect();
        logs
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Returns the log of an exporter, running. The first caller opens it, and the others wait for
    /// that.
    pub(super) fn get(
        &self,
        exporter: &str,
        allocations: &AllocationRequests,
        open: impl FnOnce() -> io::Result<DurableLog>,
    ) -> io::Result<Arc<DurableLog>> {
        let mut state = self.state();
        loop {
            if let Some(found) = state.logs.get_mut(exporter) {
                found.used = true;
                let log = Arc::clone(&found.log);
                drop(state);
                log.start(allocations)?;
                return Ok(log);
            }
            if state.ended {
                return Err(closed());
            }
            if state.opening.insert(exporter.to_owned()) {
                break;
            }
            self.changed.wait(&mut state);
        }
        drop(state);
        let _opening = OpeningMark(self, exporter);
        let log = Arc::new(open()?);
        let mut state = self.state();
        if state.ended {
            return Err(closed());
        }
        log.start(allocations)?;
        let new = EgressLog {
            log: Arc::clone(&log),
            used: true,
        };
        state.logs.insert(exporter.to_owned(), new);
        Ok(log)
    }

    pub(super) fn logs(&self) -> Vec<Arc<DurableLog>> {
        let state = self.state();
        let logs = state.logs.values().map(|egress| Arc::clone(&egress.log));
        logs.collect()
    }

    /// Ends the opening of logs. Returns the open ones, and the names of those that are still being
    /// opened.
    pub(super) fn end(&self) -> (Vec<Arc<DurableLog>>, Vec<String>) {
        let mut state = self.state();
        state.ended = true;
        let opening = state.opening.iter().cloned().collect();
        drop(state);
        self.changed.notify_all();
        (self.logs(), opening)
    }

    /// Waits until no log is being opened: until then files are written.
    pub(super) fn wait_for_openings(&self) {
        let mut state = self.state();
        while !state.opening.is_empty() {
            self.changed.wait(&mut state);
        }
    }

    /// Returns the logs that no exporter asked for.
    pub(super) fn unused(&self) -> Vec<(String, Arc<DurableLog>)> {
        let state = self.state();
        let unused = state.logs.iter().filter(|(_, egress)| !egress.used);
        let unused = unused.map(|(name, egress)| (name.clone(), Arc::clone(&egress.log)));
        unused.collect()
    }

    /// Finishes the expired records in the logs of exporters that no longer exist: nobody reads
    /// these logs, and they would fill the journal. Records of other logs are left to their reader,
    /// which accounts for them.
    pub(super) fn expire_unused(&self) {
        let unused: Vec<Arc<DurableLog>> = {
            let state = self.state();
            let unused = state.logs.values();
            let unused =
                unused.filter(|egress| !egress.used || Arc::strong_count(&egress.log) == 1);
            unused.map(|egress| Arc::clone(&egress.log)).collect()
        };
        for log in unused {
            log.expire();
        }
    }
}

/// Marks the log of this name as being opened, until it is dropped.
struct OpeningMark<'a>(&'a EgressLogs, &'a str);

impl Drop for OpeningMark<'_> {
    fn drop(&mut self) {
        self.0.state().opening.remove(self.1);
        self.0.changed.notify_all();
    }
}
