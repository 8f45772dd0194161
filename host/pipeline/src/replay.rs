//! Replay: records of the ingress log go through the stages again. They are those that an earlier
//! process had not finished, and those that a stage with `on_fault: refuse` sent back in this one.
//!
//! Each try is marked in the log before it begins, and the mark is taken back when the batch came
//! through the stages. So a batch that ends the process in the stages each time is known by its
//! mark, which counts these ends. A batch that was tried beside others when the process ended is
//! tried alone the next time: no other replayed batch is in the stages with it. After three tries
//! that failed or ended the process, the batch goes on the shelf. The end of the process that
//! accepted it does not count as a try: everything in flight shared that. So a poisonous batch ends
//! four processes (fresh, beside others, alone, alone again). A plain kill says something only of
//! the few batches that are in the stages at that moment; it has to hit the same one three times in
//! a row, twice while it is alone there.
//!
//! A batch that came through the stages is never blamed for the end of the process. What happens
//! behind the stages is the collector's own work, and no plugin can end the process.

mod expiry;
mod marks;
mod retries;
mod returns;
mod shelving;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::Instant;

use self::marks::failures_of;
pub use self::retries::{Retries, Retry};
pub use self::returns::Hastened;
use self::returns::Returned;
pub(crate) use self::returns::Returns;
use crate::batch::Batch;
use crate::completion::Accepted;
use crate::ingress::Door;
use crate::journal::{Durability, Log, LogFill, TooOld, Unfinished, end_of};
use crate::ledger::Ledger;
use crate::queue::Lane;
use crate::refused::{Refusal, Refused};
use crate::stage::ATTEMPTS;

/// The number of records of the backlog that are on their way through the stages at once: enough to
/// keep every shard busy, and few enough to be suspects together when one of them ends the process.
const WINDOW: usize = 64;
/// The number of records that are looked at in one go.
const PAGE: usize = 1024;

/// The task that sends records of the ingress log through the stages again.
pub(crate) struct Replay {
    door: Arc<Door>,
    ledger: Arc<Ledger>,
    log: Arc<dyn Log>,
    accepted: Accepted,
    durability: Durability,
    returns: Arc<Returns>,
    /// Records of the backlog that are not replayed, because stages hold their remaining items.
    held: BTreeSet<u64>,
    /// The end of the backlog: records below were there at the start.
    end: u64,
    /// The next record of the backlog: records below are on their way, or were looked at.
    next: AtomicU64,
    too_old: TooOld,
    /// The lock for the one replayed batch that waits for its place. So replayed batches take turns
    /// with incoming ones, however many wait here.
    turn: tokio::sync::Mutex<()>,
}

/// The outcome of a try.
enum Tried {
    /// The batch is through, on the shelf, or gone.
    Ended,
    /// The batch stays in the journal, because the pipeline drains.
    Stays,
    /// The batch is to be tried again later.
    Again(Returned),
}

impl Replay {
    pub(crate) fn new(
        door: Arc<Door>,
        accepted: Accepted,
        durability: Durability,
        returns: Arc<Returns>,
        held: BTreeSet<u64>,
    ) -> Self {
        let log = Arc::clone(accepted.log());
        Self {
            ledger: Arc::clone(door.ledger()),
            door,
            end: end_of(log.as_ref()),
            next: AtomicU64::new(0),
            too_old: TooOld::default(),
            log,
            accepted,
            durability,
            returns,
            held,
            turn: tokio::sync::Mutex::default(),
        }
    }

    /// Runs until the door is closed and every try that had begun has ended.
    pub(crate) async fn run(self) {
        tokio::join!(self.backlog(), self.come_back(), self.expire());
    }

    /// Replays the records that were there at the start.
    async fn backlog(&self) {
        let LogFill { records, items, .. } = self.log.fill();
        let held = self.held.iter().filter_map(|held| self.unfinished(*held));
        let held: Vec<u64> = held.map(|held| held.items).collect();
        let batches = records.saturating_sub(held.len() as u64);
        if batches == 0 {
            return;
        }
        let pipeline = self.ledger.pipeline();
        let started = Instant::now();
        tracing::info!(
            pipeline,
            batches,
            items = items.saturating_sub(held.iter().sum()),
            "replaying accepted batches that were not finished"
        );
        let suspects = self.suspects().await;
        self.pass().await;
        for record in suspects {
            if self.door.is_closed() {
                return;
            }
            if let Some(record) = self.unfinished(record) {
                let before = Returned::from_start(record.attempts);
                self.try_record(record, before, true).await;
            }
        }
        if !self.door.is_closed() {
            let elapsed_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
            tracing::info!(pipeline, elapsed_ms, "replay ended");
        }
    }

    /// Returns the records of the backlog that are tried alone.
    async fn suspects(&self) -> Vec<u64> {
        let mut suspects = Vec::new();
        let mut next = 0;
        loop {
            let page = self.log.unfinished(next, PAGE);
            let backlog = page.iter().filter(|record| record.record < self.end);
            let is_suspect =
                |record: &&Unfinished| !self.held.contains(&record.record) && is_suspect(record);
            suspects.extend(backlog.filter(is_suspect).map(|record| record.record));
            match page.last() {
                Some(last) if last.record < self.end => next = last.record + 1,
                _ => return suspects,
            }
            tokio::task::yield_now().await;
        }
    }

    /// Tries the records of the backlog that are not suspects, several at once.
    async fn pass(&self) {
        let mut running = FuturesUnordered::new();
        loop {
            while running.len() < WINDOW && !self.door.is_closed() && !self.returns.is_full() {
                let next = self.next.load(Ordering::Relaxed);
                let record = self.log.unfinished(next, 1).into_iter().next();
                let Some(record) = record.filter(|record| record.record < self.end) else {
                    break;
                };
                self.next.store(record.record + 1, Ordering::Relaxed);
                let waits = self.returns.has(record.record) || self.held.contains(&record.record);
                if !is_suspect(&record) && !waits {
                    let before = Returned::from_start(record.attempts);
                    running.push(self.try_record(record, before, false));
                }
            }
            if running.next().await.is_none() {
                if !self.returns.is_full() || self.door.is_closed() {
                    return;
                }
                // The records that were sent back come first.
                tokio::select! {
                    () = self.returns.has_room() => {}
                    () = self.door.closed() => {}
                }
            }
        }
    }

    /// Tries the records that were sent back, one after the other, when they are due.
    async fn come_back(&self) {
        loop {
            let returned = tokio::select! {
                biased;
                () = self.door.closed() => return,
                returned = self.returns.due() => returned,
            };
            let (record, returned) = returned;
            match self.unfinished(record) {
                Some(unfinished) => self.try_record(unfinished, returned, false).await,
                None => self.returns.end(record),
            }
        }
    }

    /// Returns a record, if it is not finished.
    fn unfinished(&self, record: u64) -> Option<Unfinished> {
        let next = self.log.unfinished(record, 1).into_iter().next();
        next.filter(|next| next.record == record)
    }

    async fn try_record(&self, record: Unfinished, before: Returned, alone: bool) {
        // A batch is not given up before the plugins that run now were asked about it.
        let before = before.once_more(self.ledger.stage_changes());
        let tried = if before.failures >= failures_at_most() {
            self.shelve(record, before).await
        } else {
            self.run_record(record, before, alone).await
        };
        match tried {
            Tried::Ended | Tried::Stays => self.returns.end(record.record),
            Tried::Again(returned) => self.returns.put(record.record, returned),
        }
    }

    /// Sends a record once through the stages; if `alone`, with no other replayed record beside it.
    async fn run_record(&self, record: Unfinished, before: Returned, alone: bool) -> Tried {
        let Unfinished {
            record: number,
            items,
            bytes,
            ..
        } = record;
        let permits = tokio::select! {
            biased;
            () = self.door.closed() => return Tried::Stays,
            permits = self.door.egress().reserve(Lane::Replayed, items, bytes) => permits,
        };
        let Some(permits) = permits else {
            return Tried::Stays;
        };
        if !before.is_booked && self.expire_one(&record) {
            return Tried::Ended;
        }
        let bytes = match self.log.read(number).await {
            Ok(bytes) => bytes,
            Err(error) => return self.unreadable(record, before, &error),
        };
        let turn = self.turn.lock().await;
        if let Err(error) = self.mark(number, before.trying()).await {
            let error: &dyn std::error::Error = &error;
            tracing::warn!(error, "a try cannot be marked in the journal, replay waits");
            return Tried::Again(before.later());
        }
        let guard = self.accepted.guard(number);
        let mut tally = self.ledger.replay(items, before.is_booked, guard);
        tally.write_at(record.written);
        tally.fail_at(before.failed_at());
        let changes = self.ledger.stage_changes();
        let batch = Batch { bytes, tally };
        let placed = self.door.let_in(batch, permits).await;
        // A suspect keeps the turn until it has its answer.
        let turn = alone.then_some(turn);
        let answered = match placed {
            Ok(answer) => answer.through().await,
            Err(refused) => Err(Refusal::from(refused)),
        };
        drop(turn);
        let before = before.booked();
        let (mark, tried) = match answered {
            Ok(()) => (Returned::through(), Tried::Ended),
            Err(refusal) if matches!(refusal.refused, Refused::Draining) => {
                if self.door.is_closed() {
                    (before.mark(), Tried::Stays)
                } else {
                    self.returns.broken();
                    (before.mark(), Tried::Again(before.later()))
                }
            }
            Err(refusal) => {
                let after = before.refused(&refusal, changes);
                (after.mark(), Tried::Again(after))
            }
        };
        if let Err(error) = self.mark(number, mark).await {
            // The next process counts this try against the batch. At worst, the batch is on the
            // shelf too early.
            let error: &dyn std::error::Error = &error;
            tracing::warn!(error, "a mark cannot be changed in the journal");
        }
        tried
    }

    async fn mark(&self, record: u64, mark: u8) -> std::io::Result<()> {
        self.log.set_attempts(vec![(record, mark)]).await
    }
}

/// Returns true if a try of this record failed in an earlier process, or ended it.
fn is_suspect(record: &Unfinished) -> bool {
    failures_of(record.attempts) > 0
}

/// Returns the number of failures after which a batch goes on the shelf: the same number after
/// which a stage does not ask its plugin again.
fn failures_at_most() -> u8 {
    u8::try_from(ATTEMPTS).unwrap_or(u8::MAX)
}
