//! Records that wait for another try.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::failures_at_most;
use super::marks::{failures_of, mark_of};
use crate::refused::{Refusal, Refused};

/// The number of waiting records at which the door is shut: a plugin that fails on everything
/// should fill a little memory, not the disk.
const MOST: usize = 1024;

/// The first wait for another try. It is doubled each time, up to the longest.
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30);
/// The longest wait for a record of which some parts come through each time, while a plugin on
/// another shard is not asked: each try duplicates those parts.
const LONGEST_IN_PART: Duration = Duration::from_secs(600);

/// A record of which not everything came through.
#[derive(Clone, Debug)]
pub(crate) struct Returned {
    /// The number of times that it failed, or ended the process.
    pub(super) failures: u8,
    /// True if its items went back to the journal in this process' books.
    pub(super) is_booked: bool,
    /// True if some parts of it came through.
    in_part: bool,
    /// The number of waits so far.
    waits: u32,
    /// The description of the last failure.
    reason: Option<String>,
    /// The stage that failed on it last.
    failed_at: Option<Arc<str>>,
    /// The change of the stages whose plugins were asked last, and failed. `None` if it did not
    /// fail in this process.
    asked: Option<u64>,
    /// True if it is on its way to the shelf, which cannot be stopped now.
    shelving: bool,
    /// True if an operator asked for it while it was being tried.
    wanted: bool,
}

/// The answer to an operator who asks for a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hastened {
    /// It is tried now, with all of its attempts available again.
    Now,
    /// It is being put on the shelf just now.
    Shelving,
    /// It does not wait any more: it came through, or is on the shelf.
    Gone,
}

impl Returned {
    fn new(failures: u8) -> Self {
        Self {
            failures,
            is_booked: false,
            in_part: false,
            waits: 0,
            reason: None,
            failed_at: None,
            asked: None,
            shelving: false,
            wanted: false,
        }
    }

    /// Makes the entry for a record of the backlog with this mark.
    pub(super) fn from_start(mark: u8) -> Self {
        Self::new(failures_of(mark))
    }

    /// Returns its mark during a try: the try counts as a failure if the process ends meanwhile.
    pub(super) fn trying(&self) -> u8 {
        mark_of(self.failures.saturating_add(1))
    }

    /// Returns its mark after it came through the stages: whatever ends the process from then on,
    /// this batch is not blamed for it.
    pub(super) fn through() -> u8 {
        mark_of(0)
    }

    /// Returns its mark while it waits.
    pub(super) fn mark(&self) -> u8 {
        mark_of(self.failures)
    }

    /// Marks that it was in the stages, and so in the books.
    pub(super) fn booked(self) -> Self {
        Self {
            is_booked: true,
            ..self
        }
    }

    /// Grants one more try if the plugins have been changed since the last failure. Failures that
    /// ended a process stay as they are.
    pub(super) fn once_more(mut self, changes: u64) -> Self {
        if self.asked.is_some_and(|asked| asked != changes) {
            self.failures = self.failures.min(failures_at_most().saturating_sub(1));
        }
        self
    }

    /// Resets it, because an operator wants it tried as if it were new.
    fn anew(mut self) -> Self {
        if self.asked.is_some() {
            self.failures = 0;
        }
        self.waits = 0;
        self
    }

    /// Returns the stage that failed on it last.
    pub(super) fn failed_at(&self) -> Option<Arc<str>> {
        self.failed_at.clone()
    }

    /// Makes it wait longer before the next try. Adds no failure.
    pub(super) fn later(self) -> Self {
        Self {
            waits: self.waits.saturating_add(1),
            ..self
        }
    }

    /// Notes that the stages of this change refused it.
    pub(super) fn refused(mut self, refusal: &Refusal, changes: u64) -> Self {
        let Refusal { refused, fault, .. } = refusal;
        match refused {
            // It can never come through.
            Refused::Invalid(_) | Refused::Quarantined { .. } => self.failures = failures_at_most(),
            _ if fault.is_some() => self.failures = self.failures.saturating_add(1),
            _ => {}
        }
        self.in_part = refusal.partial && fault.is_none();
        if let Refused::Fault { stage, .. } | Refused::Quarantined { stage, .. } = refused {
            self.failed_at = Some(Arc::from(stage.as_str()));
            self.asked = Some(changes);
        }
        // The news that a plugin is not asked any more says less than what the plugin itself said.
        let says_less = fault.is_none() && self.failures > 0 && self.reason.is_some();
        if !says_less {
            let first: &dyn Error = refused;
            let causes = std::iter::successors(Some(first), |error| (*error).source());
            let words = causes.map(ToString::to_string);
            let words = words.chain(fault.as_ref().map(ToString::to_string));
            self.reason = Some(words.collect::<Vec<_>>().join(": "));
        }
        self.later()
    }

    /// Returns what happened, for the operator who looks at the shelf.
    pub(super) fn reason(&self) -> String {
        let died = || "the process ended each time while this was in the stages".to_owned();
        self.reason.clone().unwrap_or_else(died)
    }

    fn wait(&self) -> Duration {
        if self.failures >= failures_at_most() && self.waits <= 3 {
            // The way to the shelf needs no wait.
            return Duration::ZERO;
        }
        let doubled = 1_u32 << self.waits.saturating_sub(1).min(10);
        let longest = if self.in_part {
            LONGEST_IN_PART
        } else {
            LONGEST
        };
        longest.min(FIRST * doubled)
    }
}

/// The records that wait for another try.
#[derive(Debug, Default)]
pub(crate) struct Returns {
    waiting: Mutex<Waiting>,
    full: AtomicBool,
    /// True if a shard has died.
    broken: AtomicBool,
    changed: Notify,
    room: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    /// The records, by the times at which they are due.
    due: BTreeSet<(Instant, u64)>,
    /// Those that wait, and those that are being tried.
    records: BTreeMap<u64, Returned>,
}

impl Returns {
    /// Takes a fresh record that came back from the stages. `closed` says whether the door is
    /// closed, so that all records come back.
    pub(crate) fn send_back(&self, record: u64, refusal: &Refusal, closed: bool, changes: u64) {
        if matches!(refusal.refused, Refused::Draining) {
            if closed {
                return;
            }
            self.broken();
        }
        let returned = Returned::new(0).booked().refused(refusal, changes);
        self.put(record, returned);
    }

    /// Notes that a shard does not answer although nobody has told it to end. Nothing comes in any
    /// more, because it would never get through.
    pub(super) fn broken(&self) {
        if !self.broken.swap(true, Ordering::Relaxed) {
            tracing::error!("a shard has died, nothing is accepted until a restart");
        }
    }

    pub(super) fn put(&self, record: u64, returned: Returned) {
        let mut waiting = self.lock();
        let wanted = waiting.records.get(&record).is_some_and(|it| it.wanted);
        let returned = if wanted { returned.anew() } else { returned };
        let due = Instant::now() + returned.wait();
        waiting.records.insert(record, returned);
        waiting.due.insert((due, record));
        self.full
            .store(waiting.records.len() >= MOST, Ordering::Relaxed);
        drop(waiting);
        self.changed.notify_one();
    }

    /// Removes a record, because it does not wait any more.
    pub(super) fn end(&self, record: u64) {
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
    pub(super) async fn has_room(&self) {
        while self.is_full() {
            self.room.notified().await;
        }
    }

    /// Returns true if the record waits, or is being tried.
    pub(super) fn has(&self, record: u64) -> bool {
        self.lock().records.contains_key(&record)
    }

    /// Returns the records on which a plugin has failed, with the number of failures, and the
    /// description of the last one.
    pub(super) fn failed(&self) -> Vec<(u64, u8, String)> {
        let waiting = self.lock();
        let failed = waiting.records.iter().filter(|(_, it)| it.failures > 0);
        let said = failed.map(|(record, it)| (*record, it.failures, it.reason()));
        said.collect()
    }

    /// Has a record tried now, as if it were new. If it is being tried already, and that fails, it
    /// is tried again as if it were new.
    pub(super) fn hasten(&self, record: u64) -> Hastened {
        let mut waiting = self.lock();
        let place = waiting.due.iter().find(|(_, due)| *due == record).copied();
        let Some(returned) = waiting.records.get_mut(&record) else {
            return Hastened::Gone;
        };
        if returned.shelving {
            return Hastened::Shelving;
        }
        match place {
            None => returned.wanted = true,
            Some(place) => {
                *returned = returned.clone().anew();
                waiting.due.remove(&place);
                waiting.due.insert((Instant::now(), record));
            }
        }
        drop(waiting);
        self.changed.notify_one();
        Hastened::Now
    }

    /// Sends a record to the shelf now, unless an operator has just asked for it. Returns true if
    /// it goes there.
    pub(super) fn shelve(&self, record: u64, returned: &Returned) -> bool {
        let mut waiting = self.lock();
        let known = waiting.records.entry(record);
        let known = known.or_insert_with(|| returned.clone());
        known.shelving = !known.wanted;
        known.shelving
    }

    /// Returns the next record, when it is due. For one task.
    pub(super) async fn due(&self) -> (u64, Returned) {
        loop {
            let first = {
                let mut waiting = self.lock();
                let first = waiting.due.first().map(|(due, _)| *due);
                if first.is_some_and(|due| due <= Instant::now())
                    && let Some((_, record)) = waiting.due.pop_first()
                    && let Some(returned) = waiting.records.get(&record)
                {
                    return (record, returned.clone());
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

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
