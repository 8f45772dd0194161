//! The ingress log, with this process' knowledge of its records.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Guard, Listener};
use crate::journal::Log;

/// The ingress log, with this process' knowledge of its records. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct IngressLog {
    log: Arc<dyn Log>,
    /// Records that stages of this process have seen, and that were not finished when their batches
    /// ended.
    failed: Arc<Mutex<BTreeSet<u64>>>,
}

impl IngressLog {
    pub(crate) fn new(log: Arc<dyn Log>) -> Self {
        Self {
            log,
            failed: Arc::default(),
        }
    }

    /// Returns the log.
    pub(crate) fn log(&self) -> &Arc<dyn Log> {
        &self.log
    }

    /// Makes the guard of a record. The record is finished when the last clone is gone, unless
    /// something failed.
    pub(crate) fn guard(&self, record: u64) -> Guard {
        Guard::with(Listener::Accepted(self.clone(), record), 0)
    }

    /// Returns the number of records that are to be tried again although stages have seen them. A
    /// stage that knows their spans would take them for duplicates.
    pub(crate) fn failed(&self) -> usize {
        self.failed.lock().len()
    }

    /// Books that nothing of a record is left in the pipeline.
    pub(super) fn end(&self, record: u64, failed: bool, seen: bool) {
        if !failed {
            self.log.finish(record);
        }
        if seen {
            let mut all = self.failed.lock();
            if failed {
                all.insert(record);
            } else {
                all.remove(&record);
            }
        }
    }
}

/// The guards of records whose parts are given back one by one. There is one for each record, so
/// that the record is finished with the last part.
#[derive(Debug)]
pub(crate) struct RecordGuards<'a> {
    log: &'a IngressLog,
    all: BTreeMap<u64, Guard>,
}

impl<'a> RecordGuards<'a> {
    pub(crate) fn new(log: &'a IngressLog) -> Self {
        Self {
            log,
            all: BTreeMap::new(),
        }
    }

    /// Returns a guard for items of all of these records. Stages have seen them.
    pub(crate) fn of(&mut self, records: &[u64]) -> Guard {
        let log = self.log;
        let guard = |record: &u64| {
            let guard = self
                .all
                .entry(*record)
                .or_insert_with(|| log.guard(*record));
            guard.see();
            guard.clone()
        };
        let mut guards: Vec<Guard> = records.iter().map(guard).collect();
        match guards.pop() {
            Some(only) if guards.is_empty() => only,
            last => {
                guards.extend(last);
                Guard::fold(guards)
            }
        }
    }
}
