//! The records that wait for another try.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::state::RetryState;
use crate::refused::{BatchRefusal, Refused};

/// The number of waiting records at which nothing more is let in: a plugin that fails on everything
/// should fill a little memory, not the disk.
const MOST: usize = 1024;

/// The answer to an operator who asks for a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryAnswer {
    /// It is tried now, with all of its attempts available again.
    Now,
    /// It is being put into quarantine just now.
    Leaving,
    /// It does not wait any more: it came through, or is in quarantine.
    Gone,
}

/// The records that wait for another try.
#[derive(Debug, Default)]
pub(crate) struct RetryQueue {
    waiting: Mutex<RetryRecords>,
    full: AtomicBool,
    /// True if a shard has died.
    broken: AtomicBool,
    changed: Notify,
    room: Notify,
}

#[derive(Debug, Default)]
struct RetryRecords {
    /// The records, by the times at which they are due.
    due: BTreeSet<(Instant, u64)>,
    /// Those that wait, and those that are being tried.
    records: BTreeMap<u64, Entry>,
}

#[derive(Debug)]
struct Entry {
    state: RetryState,
    /// True if it is on its way to quarantine, which cannot be stopped now.
    is_leaving: bool,
    /// True if an operator asked for it while it was being tried.
    is_wanted: bool,
}

impl From<RetryState> for Entry {
    fn from(state: RetryState) -> Self {
        Self {
            state,
            is_leaving: false,
            is_wanted: false,
        }
    }
}

impl RetryQueue {
    /// Takes a fresh record that came back from the stages. `closed` says whether the
    /// admission is closed, so that all records come back.
    pub(crate) fn send_back(
        &self,
        record: u64,
        refusal: &BatchRefusal,
        closed: bool,
        changes: u64,
    ) {
        if matches!(refusal.refused, Refused::Draining) {
            if closed {
                return;
            }
            self.broken();
        }
        let state = RetryState::new(0).booked().refused(refusal, changes);
        self.put(record, state);
    }

    /// Notes that a shard does not answer although nobody has told it to end. Nothing comes in any
    /// more, because it would never get through.
    pub(crate) fn broken(&self) {
        if !self.broken.swap(true, Ordering::Relaxed) {
            tracing::error!("a shard has died, nothing is accepted until a restart");
        }
    }

    pub(crate) fn put(&self, record: u64, state: RetryState) {
        let mut waiting = self.lock();
        let known = waiting.records.get(&record);
        let is_wanted = known.is_some_and(|known| known.is_wanted);
        let state = if is_wanted { state.anew() } else { state };
        let due = Instant::now() + state.wait();
        waiting.records.insert(record, Entry::from(state));
        waiting.due.insert((due, record));
        self.full
            .store(waiting.records.len() >= MOST, Ordering::Relaxed);
        drop(waiting);
        self.changed.notify_one();
    }

    /// Removes a record, because it does not wait any more.
    pub(crate) fn end(&self, record: u64) {
        let mut waiting = self.lock();
        waiting.records.remove(&record);
        let is_full = waiting.records.len() >= MOST;
        drop(waiting);
        self.full.store(is_full, Ordering::Relaxed);
        self.room.notify_one();
    }

    /// Returns true if nothing more should come in.
    pub(crate) fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed) || self.broken.load(Ordering::Relaxed)
    }

    /// Resolves when batches may come in again.
    pub(crate) async fn has_room(&self) {
        while self.is_full() {
            self.room.notified().await;
        }
    }

    /// Returns true if the record waits, or is being tried.
    pub(crate) fn has(&self, record: u64) -> bool {
        self.lock().records.contains_key(&record)
    }

    /// Returns the records on which a plugin has failed, with the number of failures, and the
    /// description of the last one.
    pub(crate) fn failed(&self) -> Vec<(u64, u8, String)> {
        let waiting = self.lock();
        let states = waiting
            .records
            .iter()
            .map(|(record, entry)| (*record, &entry.state));
        let failed = states.filter(|(_, state)| state.failures() > 0);
        let failed = failed.map(|(record, state)| (record, state.failures(), state.reason()));
        failed.collect()
    }

    /// Has a record tried now, as if it were new. If it is being tried already, and that fails, it
    /// is tried again as if it were new.
    pub(crate) fn hasten(&self, record: u64) -> RetryAnswer {
        let mut waiting = self.lock();
        let place = waiting.due.iter().find(|(_, due)| *due == record).copied();
        let Some(entry) = waiting.records.get_mut(&record) else {
            return RetryAnswer::Gone;
        };
        if entry.is_leaving {
            return RetryAnswer::Leaving;
        }
        match place {
            None => entry.is_wanted = true,
            Some(place) => {
                entry.state = entry.state.clone().anew();
                waiting.due.remove(&place);
                waiting.due.insert((Instant::now(), record));
            }
        }
        drop(waiting);
        self.changed.notify_one();
        RetryAnswer::Now
    }

    /// Sends a record to quarantine now, unless an operator has just asked for it. Returns true if
    /// it goes there.
    pub(crate) fn quarantine(&self, record: u64, state: &RetryState) -> bool {
        let mut waiting = self.lock();
        let entry = waiting.records.entry(record);
        let entry = entry.or_insert_with(|| Entry::from(state.clone()));
        entry.is_leaving = !entry.is_wanted;
        entry.is_leaving
    }

    /// Returns the next record, when it is due. For one task.
    pub(crate) async fn due(&self) -> (u64, RetryState) {
        loop {
            let first = {
                let mut waiting = self.lock();
                let first = waiting.due.first().map(|(due, _)| *due);
                if first.is_some_and(|due| due <= Instant::now())
                    && let Some((_, record)) = waiting.due.pop_first()
                    && let Some(entry) = waiting.records.get(&record)
                {
                    return (record, entry.state.clone());
                }
                waiting.due.first().map(|(due, _)| *due)
            };
            let due = async {
                match first {
                    Some(due) => tokio::time::sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = due => {}
                () = self.changed.notified() => {}
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, RetryRecords> {
        self.waiting.lock()
    }
}
