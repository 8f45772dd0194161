//! Records that wait for another try.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::failures_at_most;
use super::marks::{HAUNTED, Mark};
use crate::refused::{Refusal, Refused};

/// So many records wait at most before the door is shut: a plugin that fails on everything should
/// fill a little memory, not the disk.
const MOST: usize = 1024;

/// The first wait for another try, doubled each time up to the longest.
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30);
/// The longest for one of which some parts come through each time, while a plugin on another shard is
/// not asked: each try makes them duplicates.
const LONGEST_IN_PART: Duration = Duration::from_secs(600);

/// A record of which not everything came through.
#[derive(Clone, Debug)]
pub(crate) struct Returned {
    /// How often it failed, or ended the process.
    pub(super) failures: u8,
    /// Its items went back to the journal in this process' books.
    pub(super) is_booked: bool,
    /// In so many processes it came through the stages, and was not finished.
    through: u8,
    /// Its marks are not its own: it is on trial.
    on_trial: bool,
    /// Some parts of it came through.
    in_part: bool,
    /// Waits so far.
    waits: u32,
    /// What happened last.
    reason: Option<String>,
    /// The stage that failed on it last.
    failed_at: Option<Arc<str>>,
    /// The plugins of which change of the stages were asked last, and failed. None for what did not
    /// fail in this process.
    asked: Option<u64>,
    /// It is on its way to the shelf, and nothing else becomes of it now.
    shelving: bool,
    /// An operator asked for it while it was being tried.
    wanted: bool,
}

/// What comes of asking for a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hastened {
    /// It is tried now, with all of its attempts before it.
    Now,
    /// It is being put on the shelf just now.
    Shelving,
    /// It does not wait any more: it came through, or is on the shelf.
    Gone,
}

impl Returned {
    fn new(failures: u8, through: u8) -> Self {
        Self {
            failures,
            is_booked: false,
            through,
            on_trial: false,
            in_part: false,
            waits: 0,
            reason: None,
            failed_at: None,
            asked: None,
            shelving: false,
            wanted: false,
        }
    }

    /// Out of the backlog, with this mark.
    pub(super) fn from_start(mark: u8) -> Self {
        match Mark::from(mark) {
            Mark::Failures(failures) => Self::new(failures, 0),
            Mark::Through(through) => Self::new(0, through),
            Mark::Trial(_) | Mark::Waits(_) => Self::new(0, HAUNTED),
        }
    }

    /// To be put through with others, or alone, with the mark that it has.
    pub(super) fn on_trial() -> Self {
        Self {
            on_trial: true,
            ..Self::new(0, HAUNTED)
        }
    }

    /// Enough is known of it.
    pub(super) fn convicted() -> Self {
        Self::new(failures_at_most(), 0)
    }

    /// Its mark during a try; none when it keeps the one it has.
    pub(super) fn trying(&self) -> Option<Mark> {
        (!self.on_trial).then(|| Mark::Failures(self.failures.saturating_add(1)))
    }

    /// Its mark after it came through the stages.
    pub(super) fn through(&self) -> Option<Mark> {
        (!self.on_trial).then(|| Mark::Through(self.through.saturating_add(1)))
    }

    /// Its mark while it waits.
    pub(super) fn mark(&self) -> Option<Mark> {
        Some(match self.failures {
            0 if self.through > 0 => Mark::Through(self.through),
            failures => Mark::Failures(failures),
        })
    }

    /// It was in the stages, and in the books.
    pub(super) fn booked(self) -> Self {
        Self {
            is_booked: true,
            ..self
        }
    }

    /// The last failure is not the last word: the plugins have been changed since, or an operator asks.
    /// What ended a process stays as it is.
    pub(super) fn once_more(mut self, changes: u64) -> Self {
        if self.asked.is_some_and(|asked| asked != changes) {
            self.failures = self.failures.min(failures_at_most().saturating_sub(1));
        }
        self
    }

    /// An operator wants it tried as if it were new.
    fn anew(mut self) -> Self {
        if self.asked.is_some() {
            self.failures = 0;
        }
        self.waits = 0;
        self
    }

    /// The stage that failed on it last.
    pub(super) fn failed_at(&self) -> Option<Arc<str>> {
        self.failed_at.clone()
    }

    /// It was not its fault.
    pub(super) fn later(self) -> Self {
        Self {
            waits: self.waits.saturating_add(1),
            on_trial: false,
            ..self
        }
    }

    /// The stages of this change did not let it through.
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
        // That a plugin is not asked any more says less than what it said itself.
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

    /// What happened, for whoever looks at the shelf.
    pub(super) fn reason(&self) -> String {
        let died = || "the process ended each time while this was in the pipeline".to_owned();
        self.reason.clone().unwrap_or_else(died)
    }

    fn wait(&self) -> Duration {
        if self.failures >= failures_at_most() && self.waits <= 3 {
            // To the shelf there is nothing to wait for.
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

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Returns {
    waiting: Mutex<Waiting>,
    full: AtomicBool,
    /// A shard has died.
    broken: AtomicBool,
    changed: Notify,
    room: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    /// By when they are due.
    due: BTreeSet<(Instant, u64)>,
    /// Those that wait, and those that are being tried.
    records: BTreeMap<u64, Returned>,
}

impl Returns {
    /// A fresh record came back from the stages; `closed` says whether everything does by now.
    pub(crate) fn send_back(&self, record: u64, refusal: &Refusal, closed: bool, changes: u64) {
        if matches!(refusal.refused, Refused::Draining) {
            if closed {
                return;
            }
            self.broken();
        }
        let returned = Returned::new(0, 0).booked().refused(refusal, changes);
        self.put(record, returned);
    }

    /// A shard does not answer, and nobody has told it to end: nothing comes in any more, because it
    /// would never get through.
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

    /// This one does not wait any more.
    pub(super) fn end(&self, record: u64) {
        let mut waiting = self.lock();
        waiting.records.remove(&record);
        let is_full = waiting.records.len() >= MOST;
        drop(waiting);
        self.full.store(is_full, Ordering::Relaxed);
        self.room.notify_one();
    }

    /// Whether nothing more should come in.
    pub(crate) fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed) || self.broken.load(Ordering::Relaxed)
    }

    /// Resolves when something may come in again.
    pub(super) async fn has_room(&self) {
        while self.is_full() {
            self.room.notified().await;
        }
    }

    /// Whether it waits, or is being tried.
    pub(super) fn has(&self, record: u64) -> bool {
        self.lock().records.contains_key(&record)
    }

    /// Those on which a plugin has failed, with how often, and what it said.
    pub(super) fn failed(&self) -> Vec<(u64, u8, String)> {
        let waiting = self.lock();
        let failed = waiting.records.iter().filter(|(_, it)| it.failures > 0);
        let said = failed.map(|(record, it)| (*record, it.failures, it.reason()));
        said.collect()
    }

    /// Has a record tried now, as if it were new. One that is being tried just now is so, if that
    /// fails.
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

    /// A record goes to the shelf now, unless somebody has just asked for it.
    pub(super) fn shelve(&self, record: u64, returned: &Returned) -> bool {
        let mut waiting = self.lock();
        let known = waiting.records.entry(record);
        let known = known.or_insert_with(|| returned.clone());
        known.shelving = !known.wanted;
        known.shelving
    }

    /// The next one, when it is due. For one task.
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
