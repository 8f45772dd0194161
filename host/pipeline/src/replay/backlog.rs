//! The backlog: the records of the ingress log that were there at the start.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::journal::{ExpiredBatches, Log, LogFill, UnfinishedRecord, end_of};
use crate::retries::failures_of;

/// The number of records that are looked at in one go.
const PAGE: usize = 1024;

/// The records of the ingress log that were there at the start, and that are replayed.
pub(super) struct Backlog {
    log: Arc<dyn Log>,
    /// Records that are not replayed, because stages hold their remaining items.
    held: BTreeSet<u64>,
    /// The end of the backlog: records below were there at the start.
    end: u64,
    /// The next record: records below are on their way, or were looked at.
    next: AtomicU64,
    too_old: ExpiredBatches,
}

impl Backlog {
    pub(super) fn new(log: Arc<dyn Log>, held: BTreeSet<u64>) -> Self {
        Self {
            end: end_of(log.as_ref()),
            next: AtomicU64::new(0),
            too_old: ExpiredBatches::default(),
            log,
            held,
        }
    }

    /// Returns the number of its batches, and of their items.
    pub(super) fn fill(&self) -> (u64, u64) {
        let LogFill { records, items, .. } = self.log.fill();
        let held = self.held.iter().filter_map(|held| self.unfinished(*held));
        let held: Vec<u64> = held.map(|held| held.items).collect();
        let batches = records.saturating_sub(held.len() as u64);
        (batches, items.saturating_sub(held.iter().sum()))
    }

    /// Returns a record, if it is not finished.
    pub(super) fn unfinished(&self, record: u64) -> Option<UnfinishedRecord> {
        let next = self.log.unfinished(record, 1).into_iter().next();
        next.filter(|next| next.record == record)
    }

    /// Returns the suspects: a try of these failed in an earlier process, or ended it.
    pub(super) async fn suspects(&self) -> Vec<u64> {
        let mut suspects = Vec::new();
        let mut next = 0;
        loop {
            let page = self.log.unfinished(next, PAGE);
            let backlog = page.iter().filter(|record| self.has(record));
            let found = backlog.filter(|record| is_suspect(record));
            suspects.extend(found.map(|record| record.record));
            match page.last() {
                Some(last) if last.record < self.end => next = last.record + 1,
                _ => return suspects,
            }
            tokio::task::yield_now().await;
        }
    }

    /// Takes the next record that is not a suspect; `None` if there is none.
    pub(super) fn take_next(&self) -> Option<UnfinishedRecord> {
        loop {
            let next = self.next.load(Ordering::Relaxed);
            let record = self.log.unfinished(next, 1).into_iter().next();
            let record = record.filter(|record| record.record < self.end)?;
            self.next.store(record.record + 1, Ordering::Relaxed);
            if self.has(&record) && !is_suspect(&record) {
                return Some(record);
            }
        }
    }

    /// Gives up the records that are too old and not on their way yet.
    pub(super) async fn expire(&self) {
        loop {
            // Earlier records are on their way. Between this line and the end of the page nothing
            // else of the replay runs, because it is one task.
            let page = self.log.unfinished(self.next.load(Ordering::Relaxed), PAGE);
            // The records are in the order of their age.
            let waiting = page.iter().filter(|record| self.has(record));
            let old = waiting.take_while(|record| self.expire_one(record)).count();
            if old < PAGE {
                return;
            }
            tokio::task::yield_now().await;
        }
    }

    /// Gives up a record that is too old and in no books: it gets into none, like records that are
    /// too old when the journal opens. Returns true if it was too old.
    pub(super) fn expire_one(&self, record: &UnfinishedRecord) -> bool {
        let is_old = self.log.is_expired(record.written);
        if is_old {
            self.log.finish(record.record);
            self.too_old.add(record.items);
        }
        is_old
    }

    /// Logs one line about the records that were given up since the last line, if there are any.
    pub(super) fn tell_expired(&self, pipeline: &str) {
        self.too_old.tell(pipeline, None);
    }

    fn has(&self, record: &UnfinishedRecord) -> bool {
        record.record < self.end && !self.held.contains(&record.record)
    }
}

/// Returns true if a try of this record failed in an earlier process, or ended it.
fn is_suspect(record: &UnfinishedRecord) -> bool {
    failures_of(record.attempts) > 0
}
