//! Replay: records of the ingress log go through the stages again. They are those that an earlier
//! process had not finished, and those that a stage with `on_fault: refuse` sent back in this one.
//!
//! Each try is marked in the log before it begins, and the mark is taken back when the batch came
//! through the stages. So a batch that ends the process in the stages each time is known by its
//! mark, which counts these ends. A batch that was tried beside others when the process ended is
//! tried alone the next time: no other replayed batch is in the stages with it. After three tries
//! that failed or ended the process, the batch goes into quarantine. The end of the process that
//! accepted it does not count as a try: everything in flight shared that. So a poisonous batch ends
//! four processes (fresh, beside others, alone, alone again). A plain kill says something only of
//! the few batches that are in the stages at that moment; it has to hit the same one three times in
//! a row, twice while it is alone there.
//!
//! A batch that came through the stages is never blamed for the end of the process. Everything
//! behind the stages is the collector's own work, and no plugin can end the process.

mod backlog;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::{Instant, MissedTickBehavior, interval};

use self::backlog::Backlog;
use crate::batch::Batch;
use crate::completion::IngressLog;
use crate::egress::ReservedBatch;
use crate::ingress::Admission;
use crate::journal::{Log, Poison, PoisonStore, RecordError, UnfinishedRecord};
use crate::ledger::Ledger;
use crate::queue::RoomClass;
use crate::refused::{BatchRefusal, Refused};
use crate::retries::{RetryQueue, RetryState};

/// The number of records of the backlog that are on their way through the stages at once: enough to
/// keep every shard busy, and few enough to be suspects together when one of them ends the process.
const WINDOW: usize = 64;
/// The time between two looks for records that are too old: little against any age that makes
/// sense.
const LOOK: Duration = Duration::from_secs(60);

/// The task that sends records of the ingress log through the stages again.
pub(crate) struct Replay {
    admission: Arc<Admission>,
    ledger: Arc<Ledger>,
    log: Arc<dyn Log>,
    ingress_log: IngressLog,
    quarantine: Arc<dyn PoisonStore>,
    retries: Arc<RetryQueue>,
    backlog: Backlog,
    /// The lock for the one replayed batch that waits for its place. So replayed batches take turns
    /// with incoming ones, however many wait here.
    turn: tokio::sync::Mutex<()>,
}

/// The outcome of a try.
enum TryOutcome {
    /// The batch is through, in quarantine, or gone.
    Ended,
    /// The batch stays in the journal, because the pipeline drains.
    Stays,
    /// The batch is to be tried again later.
    Again(RetryState),
}

impl Replay {
    /// Makes the task. The records in `held` are not replayed, because stages hold their remaining
    /// items.
    pub(crate) fn new(
        admission: Arc<Admission>,
        ingress_log: IngressLog,
        quarantine: Arc<dyn PoisonStore>,
        retries: Arc<RetryQueue>,
        held: BTreeSet<u64>,
    ) -> Self {
        let log = Arc::clone(ingress_log.log());
        Self {
            ledger: Arc::clone(admission.ledger()),
            admission,
            backlog: Backlog::new(Arc::clone(&log), held),
            log,
            ingress_log,
            quarantine,
            retries,
            turn: tokio::sync::Mutex::default(),
        }
    }

    /// Runs until the admission is closed and every try that had begun has ended.
    pub(crate) async fn run(self) {
        tokio::join!(self.replay_backlog(), self.replay_returned(), self.expire());
    }

    /// Replays the records that were there at the start.
    async fn replay_backlog(&self) {
        let (batches, items) = self.backlog.fill();
        if batches == 0 {
            return;
        }
        let pipeline = self.ledger.pipeline();
        let started = Instant::now();
        tracing::info!(
            pipeline,
            batches,
            items,
            "replaying accepted batches that were not finished"
        );
        let suspects = self.backlog.suspects().await;
        self.pass().await;
        for record in suspects {
            if self.admission.is_closed() {
                return;
            }
            if let Some(record) = self.backlog.unfinished(record) {
                let before = RetryState::from_start(record.attempts);
                self.try_record(record, before, true).await;
            }
        }
        if !self.admission.is_closed() {
            let elapsed_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
            tracing::info!(pipeline, elapsed_ms, "replay ended");
        }
    }

    /// Tries the records of the backlog that are not suspects, several at once.
    async fn pass(&self) {
        let mut running = FuturesUnordered::new();
        loop {
            while running.len() < WINDOW && !self.admission.is_closed() && !self.retries.is_full() {
                let Some(record) = self.backlog.take_next() else {
                    break;
                };
                if !self.retries.has(record.record) {
                    let before = RetryState::from_start(record.attempts);
                    running.push(self.try_record(record, before, false));
                }
            }
            if running.next().await.is_none() {
                if !self.retries.is_full() || self.admission.is_closed() {
                    return;
                }
                // The records that were sent back come first.
                tokio::select! {
                    () = self.retries.has_room() => {}
                    () = self.admission.closed() => {}
                }
            }
        }
    }

    /// Tries the records that were sent back, one after the other, when they are due.
    async fn replay_returned(&self) {
        loop {
            let due = tokio::select! {
                biased;
                () = self.admission.closed() => return,
                due = self.retries.due() => due,
            };
            let (record, state) = due;
            match self.backlog.unfinished(record) {
                Some(unfinished) => self.try_record(unfinished, state, false).await,
                None => self.retries.end(record),
            }
        }
    }

    /// Gives up records that wait for their turn after a start, and become too old meanwhile, until
    /// the admission is closed.
    async fn expire(&self) {
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = self.admission.closed() => break,
                _ = looks.tick() => self.backlog.expire().await,
            }
            self.backlog.tell_expired(self.ledger.pipeline());
        }
        self.backlog.tell_expired(self.ledger.pipeline());
    }

    async fn try_record(&self, record: UnfinishedRecord, before: RetryState, alone: bool) {
        // A batch is not given up before the plugins that run now were asked about it.
        let before = before.once_more(self.ledger.stage_changes());
        let tried = if before.is_poison() {
            self.put_into_quarantine(record, before).await
        } else {
            self.run_record(record, before, alone).await
        };
        match tried {
            TryOutcome::Ended | TryOutcome::Stays => self.retries.end(record.record),
            TryOutcome::Again(state) => self.retries.put(record.record, state),
        }
    }

    /// Sends a record once through the stages; if `alone`, with no other replayed record beside it.
    async fn run_record(
        &self,
        record: UnfinishedRecord,
        before: RetryState,
        alone: bool,
    ) -> TryOutcome {
        let UnfinishedRecord {
            record: number,
            items,
            bytes,
            ..
        } = record;
        let permits = tokio::select! {
            biased;
            () = self.admission.closed() => return TryOutcome::Stays,
            permits = self.admission.egress().reserve(RoomClass::Replayed, items, bytes) => permits,
        };
        let Some(permits) = permits else {
            return TryOutcome::Stays;
        };
        if !before.is_booked() && self.backlog.expire_one(&record) {
            return TryOutcome::Ended;
        }
        let bytes = match self.log.read(number).await {
            Ok(bytes) => bytes,
            Err(error) => return self.unreadable(record, before, &error),
        };
        let turn = self.turn.lock().await;
        if let Err(error) = self.mark(number, before.mark_of_a_try()).await {
            let error: &dyn std::error::Error = &error;
            tracing::warn!(error, "a try cannot be marked in the journal, replay waits");
            return TryOutcome::Again(before.later());
        }
        let guard = self.ingress_log.guard(number);
        let mut tally = self.ledger.replay(items, before.is_booked(), guard);
        tally.write_at(record.written);
        tally.fail_at(before.failed_at());
        let changes = self.ledger.stage_changes();
        let reserved = ReservedBatch {
            batch: Batch { bytes, tally },
            permits,
        };
        let placed = self.admission.let_in(reserved).await;
        // A suspect keeps the turn until it has its answer.
        let turn = alone.then_some(turn);
        let answered = match placed {
            Ok(answer) => answer.through().await,
            Err(refused) => Err(BatchRefusal::from(refused)),
        };
        drop(turn);
        let before = before.booked();
        let (mark, tried) = match answered {
            Ok(()) => (RetryState::mark_through(), TryOutcome::Ended),
            Err(refusal) if matches!(refusal.refused, Refused::Draining) => {
                if self.admission.is_closed() {
                    (before.mark(), TryOutcome::Stays)
                } else {
                    self.retries.broken();
                    (before.mark(), TryOutcome::Again(before.later()))
                }
            }
            Err(refusal) => {
                let after = before.refused(&refusal, changes);
                (after.mark(), TryOutcome::Again(after))
            }
        };
        if let Err(error) = self.mark(number, mark).await {
            // The next process counts this try against the batch. At worst, the batch is in
            // quarantine too early.
            let error: &dyn std::error::Error = &error;
            tracing::warn!(error, "a mark cannot be changed in the journal");
        }
        tried
    }

    async fn mark(&self, record: u64, mark: u8) -> std::io::Result<()> {
        self.log.set_attempts(vec![(record, mark)]).await
    }

    /// Returns what becomes of a record whose bytes cannot be read.
    fn unreadable(
        &self,
        record: UnfinishedRecord,
        before: RetryState,
        error: &RecordError,
    ) -> TryOutcome {
        let (number, items) = (record.record, record.items);
        let cause: &dyn std::error::Error = error;
        match error {
            RecordError::Failed(_) => {
                tracing::warn!(
                    record = number,
                    error = cause,
                    "journal cannot be read, will retry"
                );
                TryOutcome::Again(before.later())
            }
            RecordError::Damaged { .. } => {
                tracing::error!(
                    pipeline = self.ledger.pipeline(),
                    items,
                    error = cause,
                    "accepted batch is damaged on the disk, items lost"
                );
                self.ledger.post(|books| {
                    books.add_replayed(items, before.is_booked());
                    books.damaged += items;
                });
                self.log.finish(number);
                TryOutcome::Ended
            }
        }
    }

    /// Puts a record into quarantine.
    async fn put_into_quarantine(
        &self,
        record: UnfinishedRecord,
        before: RetryState,
    ) -> TryOutcome {
        let request = match self.log.read(record.record).await {
            Ok(request) => request,
            Err(error) => return self.unreadable(record, before, &error),
        };
        if !self.retries.quarantine(record.record, &before) {
            return TryOutcome::Again(before);
        }
        let UnfinishedRecord { items, written, .. } = record;
        let pipeline = self.ledger.pipeline();
        let poison = Poison {
            pipeline: pipeline.to_owned(),
            signal: self.ledger.signal(),
            request,
            items,
            attempts: before.failures(),
            accepted: written.max(SystemTime::UNIX_EPOCH),
            reason: before.reason(),
        };
        let (reason, attempts) = (before.reason(), before.failures());
        match self.quarantine.put(poison).await {
            Ok(()) => {
                tracing::error!(
                    pipeline,
                    items,
                    attempts,
                    reason,
                    "batch quarantined: it failed every time"
                );
                self.ledger.post(|books| {
                    books.add_replayed(items, before.is_booked());
                    books.quarantined += items;
                });
                self.log.finish(record.record);
                TryOutcome::Ended
            }
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(
                    pipeline,
                    items,
                    error,
                    "quarantine takes nothing, the batch stays in the journal"
                );
                TryOutcome::Again(before.later())
            }
        }
    }
}
