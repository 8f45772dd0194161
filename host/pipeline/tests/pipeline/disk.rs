//! Logs and a quarantine in memory that outlive a pipeline like files, and fail on demand.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use spandrel_pipeline::journal::{
    AppendError, Durability, Journal, Log, LogFill, Poison, PoisonStore, RecordError,
    UnfinishedRecord,
};

use crate::edges::ids;

/// The data that stays when a process ends: the logs and the quarantine of one pipeline.
#[derive(Clone, Default)]
pub(crate) struct Disk(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    logs: BTreeMap<String, Records>,
    quarantine: Vec<Poison>,
    handover: Option<Bytes>,
    condition: DiskCondition,
    /// The process that owns the disk: later actions of another process have no effect.
    process: u64,
}

#[derive(Default)]
struct Records {
    unfinished: BTreeMap<u64, Record>,
    /// The records finished since the last checkpoint: a kill brings them back.
    finished: Vec<(u64, Record)>,
    next: u64,
}

#[derive(Clone)]
struct Record {
    batch: Bytes,
    items: u64,
    attempts: u8,
    is_damaged: bool,
    is_unreadable: bool,
}

/// The current condition of the disk.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct DiskCondition {
    /// The time that a write takes.
    pub(crate) delay: Duration,
    /// True if the ingress log refuses writes.
    pub(crate) ingress_full: bool,
    /// True if the exporters' logs refuse writes.
    pub(crate) egress_full: bool,
    /// True if nothing can be read or marked.
    pub(crate) unreadable: bool,
    /// True if the disk refuses the state that the stages leave.
    pub(crate) handover_full: bool,
    /// True if the quarantine refuses writes.
    pub(crate) quarantine_full: bool,
    /// The bytes that fit into each exporter's log.
    pub(crate) egress_bytes: Option<u64>,
    /// True if everything in a log is too old.
    pub(crate) expired: bool,
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("disk")
    }
}

const INGRESS: &str = "";

impl Disk {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Opens the disk for a new process. Later actions of the process before it are lost.
    pub(crate) fn open(&self) -> Durability {
        let mut state = self.state();
        state.process += 1;
        let process = state.process;
        drop(state);
        let disk = Arc::new(Mounted {
            disk: self.clone(),
            process,
        });
        Durability {
            journal: Arc::clone(&disk) as Arc<dyn Journal>,
            quarantine: disk,
        }
    }

    /// Ends the process without a clean stop: records that were finished since the last checkpoint
    /// come back, and all records may have been in flight.
    pub(crate) fn kill(&self) {
        let mut state = self.state();
        state.process += 1;
        for records in state.logs.values_mut() {
            let again = std::mem::take(&mut records.finished);
            records.unfinished.extend(again);
            for record in records.unfinished.values_mut() {
                record.attempts = record.attempts.max(1);
            }
        }
    }

    /// Makes all finished records permanently finished.
    pub(crate) fn checkpoint(&self) {
        for records in self.state().logs.values_mut() {
            records.finished.clear();
        }
    }

    pub(crate) fn set(&self, change: impl FnOnce(&mut DiskCondition)) {
        change(&mut self.state().condition);
    }

    fn in_log(&self, name: &str) -> Vec<u64> {
        let state = self.state();
        let records = state.logs.get(name).into_iter();
        let batches = records.flat_map(|records| records.unfinished.values());
        let mut all: Vec<u64> = batches.flat_map(|record| ids(&record.batch)).collect();
        all.sort_unstable();
        all
    }

    /// Returns the items of unfinished records in the ingress log.
    pub(crate) fn ingress(&self) -> Vec<u64> {
        self.in_log(INGRESS)
    }

    /// Returns the items of unfinished records in an exporter's log.
    pub(crate) fn egress(&self, exporter: &str) -> Vec<u64> {
        self.in_log(exporter)
    }

    /// Returns the number of unfinished records in a log.
    pub(crate) fn records(&self, log: &str) -> usize {
        let state = self.state();
        state.logs.get(log).map_or(0, |log| log.unfinished.len())
    }

    /// Returns the contents of the quarantine.
    pub(crate) fn quarantine(&self) -> Vec<Poison> {
        self.state().quarantine.clone()
    }

    /// Changes the state that the stages left.
    pub(crate) fn handover(&self, change: impl FnOnce(&mut Option<Bytes>)) {
        change(&mut self.state().handover);
    }

    /// Damages the n-th unfinished record of a log and returns its items.
    pub(crate) fn damage(&self, log: &str, nth: usize) -> Vec<u64> {
        let mut state = self.state();
        let records = state.logs.get_mut(log).unwrap();
        let Some(record) = records.unfinished.values_mut().nth(nth) else {
            return Vec::new();
        };
        record.is_damaged = true;
        ids(&record.batch)
    }

    /// Sets the mark of the n-th unfinished record of the ingress log.
    pub(crate) fn mark(&self, nth: usize, mark: u8) {
        self.change(INGRESS, nth, |record| record.attempts = mark);
    }

    /// Makes the n-th unfinished record of a log unreadable, or readable again.
    pub(crate) fn set_unreadable(&self, log: &str, nth: usize, is_unreadable: bool) {
        self.change(log, nth, |record| record.is_unreadable = is_unreadable);
    }

    fn change(&self, log: &str, nth: usize, change: impl FnOnce(&mut Record)) {
        let mut state = self.state();
        let records = state.logs.get_mut(log).unwrap();
        change(records.unfinished.values_mut().nth(nth).unwrap());
    }
}

/// The disk as one process sees it.
#[derive(Clone, Debug)]
struct Mounted {
    disk: Disk,
    process: u64,
}

impl Mounted {
    /// Returns the state, if this process is the owner.
    fn state(&self) -> Option<MutexGuard<'_, State>> {
        Some(self.disk.state()).filter(|state| state.process == self.process)
    }

    fn log(&self, name: &str) -> Arc<dyn Log> {
        let mut state = self.disk.state();
        let records = state.logs.entry(name.to_owned()).or_default();
        Arc::new(MemoryLog {
            at: self.clone(),
            name: name.to_owned(),
            first_new: records.next,
        })
    }
}

impl Journal for Mounted {
    fn ingress(&self) -> Arc<dyn Log> {
        self.log(INGRESS)
    }

    fn egress(&self, exporter: &str) -> io::Result<Arc<dyn Log>> {
        Ok(self.log(exporter))
    }

    fn put_handover(&self, parts: Vec<Bytes>) -> BoxFuture<'static, io::Result<()>> {
        let at = self.clone();
        Box::pin(async move {
            let delay = at.disk.state().condition.delay;
            tokio::time::sleep(delay).await;
            let mut state = at.state().ok_or_else(gone)?;
            if state.condition.handover_full {
                return Err(io::Error::other("no room"));
            }
            state.handover = Some(Bytes::from(parts.concat()));
            Ok(())
        })
    }

    fn take_handover(&self) -> BoxFuture<'static, io::Result<Option<Bytes>>> {
        let at = self.clone();
        Box::pin(async move {
            tokio::task::yield_now().await;
            let mut state = at.state().ok_or_else(gone)?;
            Ok(state.handover.take())
        })
    }
}

impl PoisonStore for Mounted {
    fn put(&self, poison: Poison) -> BoxFuture<'static, io::Result<()>> {
        let at = self.clone();
        Box::pin(async move {
            tokio::task::yield_now().await;
            match at.state() {
                Some(mut state) if !state.condition.quarantine_full => {
                    state.quarantine.push(poison)
                }
                _ => return Err(io::Error::other("the quarantine is full")),
            }
            Ok(())
        })
    }
}

#[derive(Debug)]
struct MemoryLog {
    at: Mounted,
    name: String,
    first_new: u64,
}

fn gone() -> io::Error {
    io::Error::other("the disk does not answer")
}

impl Log for MemoryLog {
    fn append(&self, batch: Bytes, items: u64) -> BoxFuture<'static, Result<u64, AppendError>> {
        let (at, name) = (self.at.clone(), self.name.clone());
        Box::pin(async move {
            let delay = at.disk.state().condition.delay;
            if delay.is_zero() {
                tokio::task::yield_now().await;
            } else {
                tokio::time::sleep(delay).await;
            }
            let Some(mut state) = at.state() else {
                return Err(AppendError::Closed);
            };
            let condition = state.condition;
            let records = state.logs.entry(name.clone()).or_default();
            let used: u64 = records
                .unfinished
                .values()
                .map(|record| record.batch.len() as u64)
                .sum();
            let full = match name == INGRESS {
                true => condition.ingress_full,
                false => {
                    let most = condition.egress_bytes.unwrap_or(u64::MAX);
                    condition.egress_full || used + batch.len() as u64 > most
                }
            };
            if full {
                return Err(AppendError::Full { what: "its bytes" });
            }
            let number = records.next;
            records.next += 1;
            let record = Record {
                batch,
                items,
                attempts: 0,
                is_damaged: false,
                is_unreadable: false,
            };
            records.unfinished.insert(number, record);
            Ok(number)
        })
    }

    fn finish(&self, record: u64) {
        let Some(mut state) = self.at.state() else {
            return;
        };
        let records = state.logs.entry(self.name.clone()).or_default();
        if let Some(finished) = records.unfinished.remove(&record) {
            records.finished.push((record, finished));
        }
    }

    fn read(&self, record: u64) -> BoxFuture<'static, Result<Bytes, RecordError>> {
        let (at, name) = (self.at.clone(), self.name.clone());
        Box::pin(async move {
            tokio::task::yield_now().await;
            let state = at.state().ok_or_else(|| RecordError::Failed(gone()))?;
            if state.condition.unreadable {
                return Err(RecordError::Failed(gone()));
            }
            match state.logs[&name].unfinished.get(&record) {
                Some(found) if found.is_unreadable => Err(RecordError::Failed(gone())),
                Some(found) if !found.is_damaged => Ok(found.batch.clone()),
                _ => Err(RecordError::Damaged { record }),
            }
        })
    }

    fn set_attempts(&self, attempts: Vec<(u64, u8)>) -> BoxFuture<'static, io::Result<()>> {
        let (at, name) = (self.at.clone(), self.name.clone());
        Box::pin(async move {
            tokio::task::yield_now().await;
            let mut state = at.state().ok_or_else(gone)?;
            if state.condition.unreadable {
                return Err(gone());
            }
            let records = state.logs.entry(name).or_default();
            for (record, attempts) in attempts {
                let mut finished = records.finished.iter_mut();
                let finished = finished.find(|(number, _)| *number == record);
                let finished = finished.map(|(_, record)| record);
                if let Some(record) = records.unfinished.get_mut(&record).or(finished) {
                    record.attempts = attempts;
                }
            }
            Ok(())
        })
    }

    fn unfinished(&self, from: u64, most: usize) -> Vec<UnfinishedRecord> {
        let Some(state) = self.at.state() else {
            return Vec::new();
        };
        let records = state.logs[&self.name].unfinished.range(from..);
        let unfinished = |(record, found): (&u64, &Record)| UnfinishedRecord {
            record: *record,
            items: found.items,
            bytes: found.batch.len(),
            attempts: found.attempts,
            written: SystemTime::UNIX_EPOCH,
        };
        records.map(unfinished).take(most).collect()
    }

    fn first_new(&self) -> u64 {
        self.first_new
    }

    fn is_expired(&self, written: SystemTime) -> bool {
        let condition = self.at.state().map(|state| state.condition);
        condition.is_some_and(|condition| condition.expired) && written == SystemTime::UNIX_EPOCH
    }

    fn next(&self) -> u64 {
        let state = self.at.disk.state();
        state.logs.get(&self.name).map_or(0, |log| log.next)
    }

    fn fill(&self) -> LogFill {
        let Some(state) = self.at.state() else {
            return LogFill::default();
        };
        let records = state.logs[&self.name].unfinished.values();
        let bytes = records.clone().map(|record| record.batch.len() as u64);
        let bytes = bytes.sum();
        LogFill {
            records: records.clone().count() as u64,
            items: records.map(|record| record.items).sum(),
            bytes,
            disk_bytes: bytes,
        }
    }
}
