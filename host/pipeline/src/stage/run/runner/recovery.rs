//! Recovery after a fault: the instance is gone, its held items are not.

use std::time::Duration;

use tokio::time::Instant;

use super::{ATTEMPTS, Gate, Origin, RETRY_AFTER, StageOutput, StageRunner};
use crate::batch::Batch;
use crate::ledger::Reason;
use crate::plugin::{Fault, Input, Ticket};
use crate::refused::{Refusal, Refused};
use crate::stage::run::batch::StageBatch;
use crate::stage::run::learned::LearnedReads;
use crate::stage::spec::FaultPolicy;

/// Repeated faults are logged once in this time, with their number.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Keeps a plugin that fails on every batch from filling the log.
#[derive(Debug, Default)]
pub(super) struct FaultLog {
    last: Option<Instant>,
    suppressed: u64,
}

impl FaultLog {
    /// Returns the number of faults that were not logged, if this one should be logged.
    fn admit(&mut self) -> Option<u64> {
        if self.last.is_some_and(|last| last.elapsed() < LOG_INTERVAL) {
            self.suppressed += 1;
            return None;
        }
        self.last = Some(Instant::now());
        Some(std::mem::take(&mut self.suppressed))
    }
}

impl StageRunner {
    /// Returns true if there is an instance to call. Makes one if that is due, and offers it the
    /// items that its predecessor held.
    pub(super) async fn ready(&mut self, emitted: &mut Vec<Batch>) -> bool {
        if self.breaker.gate() == Gate::Open {
            return false;
        }
        if self.instance.is_none() {
            if Instant::now() < self.rebuild_at {
                return false;
            }
            self.renew().await;
        }
        if self.instance.is_some() && self.orphaned {
            self.offer_again(emitted).await;
        }
        self.instance.is_some()
    }

    /// Makes an instance if there is none.
    pub(super) async fn renew(&mut self) {
        if self.instance.is_some() {
            return;
        }
        match self.generation.instantiate().await {
            Ok(instance) => {
                self.instance = Some(instance);
                self.post(|column| column.restarts += 1);
            }
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::error!(stage = %self.spec.name, error, "plugin could not be made anew");
                self.trip();
            }
        }
    }

    /// Offers the items that the instance before this one held, as batches, once: at most one
    /// request now, so that the batch in hand need not wait for all of them. If this instance
    /// fails, the rest waits for the next.
    async fn offer_again(&mut self, emitted: &mut Vec<Batch>) {
        tracing::info!(
            stage = %self.spec.name, items = self.held.items(),
            "offering held items to the new instance"
        );
        if let Some((batches, oldest)) = self.held.take_orphans() {
            self.offering.extend(batches);
            while self.instance.is_some()
                && let Some(batch) = self.offering.front()
            {
                let (input, items) = (Input::from(batch.bytes.clone()), batch.items());
                self.offer_one(input, items, oldest, emitted).await;
            }
            self.give_up_offering(emitted);
        }
        self.orphaned = self.held.has_orphans();
        if self.orphaned && self.instance.is_some() {
            self.wake_at = Instant::now();
        }
        self.count_held();
    }

    /// Offers the first batch of `offering`.
    async fn offer_one(
        &mut self,
        mut input: Input,
        items: u64,
        oldest: (Instant, Ticket),
        emitted: &mut Vec<Batch>,
    ) {
        let ticket = self.ticket();
        let judged = self.judge(ticket, &mut input, items).await;
        let Some(batch) = self.offering.pop_front() else {
            return;
        };
        match judged {
            Ok(judgement) => {
                let mut passed = StageOutput::default();
                let tally = batch.tally;
                self.apply(ticket, StageBatch { input, tally }, judgement, &mut passed);
                self.held.mark_offered(ticket, oldest);
                emitted.extend(passed.kept.map(StageBatch::into_batch));
                emitted.append(&mut passed.emitted);
            }
            Err(fault) => {
                self.failed(&fault, None, emitted);
                self.let_go(vec![batch], Reason::Fault, emitted);
            }
        }
    }

    /// Applies the fault policy to the batches that were taken out to be offered and were not
    /// judged.
    pub(super) fn give_up_offering(&mut self, emitted: &mut Vec<Batch>) {
        let left = std::mem::take(&mut self.offering);
        self.let_go(left.into(), Reason::Fault, emitted);
    }

    /// Records that a call with this batch succeeded.
    pub(super) fn worked(&mut self, bytes: &[u8]) {
        self.quarantine.success(bytes);
        if self.breaker.success() {
            self.post(|column| {
                column.breakers_open = column.breakers_open.saturating_sub(1);
            });
            tracing::info!(stage = %self.spec.name, "breaker closed, the plugin works again");
        }
    }

    /// Records that a call failed: counts the fault, and drops the instance.
    pub(super) fn failed(&mut self, fault: &Fault, bytes: Option<&[u8]>, emitted: &mut Vec<Batch>) {
        let generation = self.column.generation;
        self.post(|column| column.add_fault(generation, fault.kind));
        let attempts = bytes.map_or(0, |bytes| self.quarantine.fault(bytes));
        if let Some(suppressed) = self.fault_log.admit() {
            tracing::warn!(
                stage = %self.spec.name, fault = fault.kind.label(), error = %fault.message, suppressed,
                "plugin failed"
            );
        }
        if attempts == ATTEMPTS {
            tracing::warn!(
                stage = %self.spec.name, attempts,
                "batch quarantined, the plugin will not be asked about it again"
            );
        }
        self.trip();
        self.count_quarantine();
        self.lose_instance(emitted);
    }

    /// Drops the instance. Its held items stay for its successor; those that were already offered
    /// to a successor once are let go.
    pub(super) fn lose_instance(&mut self, emitted: &mut Vec<Batch>) {
        self.instance = None;
        self.learned = LearnedReads::default();
        let offered = self.held.take_offered();
        self.held.bereave();
        self.let_go(offered, Reason::Fault, emitted);
        self.orphaned = self.held.has_orphans();
        self.count_held();
    }

    /// Counts a failure in the breaker, and sets the time when the plugin is instantiated again.
    fn trip(&mut self) {
        let was_open = self.breaker.is_open();
        if let Some(open_for) = self.breaker.fault() {
            if !was_open {
                self.post(|column| column.breakers_open += 1);
            }
            let wait_ms = u64::try_from(open_for.as_millis()).unwrap_or(u64::MAX);
            tracing::warn!(stage = %self.spec.name, wait_ms, "breaker opened, the plugin is not called");
        }
        self.rebuild_at = Instant::now() + self.breaker.rebuild_wait();
    }

    /// Applies the fault policy to a batch that the plugin could not judge. `fault` is given if the
    /// plugin failed on this batch.
    pub(super) fn apply_policy(
        &mut self,
        batch: StageBatch,
        origin: Origin,
        fault: Option<&Fault>,
        passed: &mut StageOutput,
    ) {
        match (self.spec.on_fault, origin) {
            (FaultPolicy::Drop, _) => batch.tally.drop_all(self.column, Reason::Fault),
            (FaultPolicy::Refuse, Origin::Sender) => {
                batch.tally.refuse();
                let stage = self.spec.name.clone();
                let retry_after = RETRY_AFTER;
                let refused = Refused::Fault { stage, retry_after };
                let partial = false;
                passed.refused = Some(Refusal {
                    refused,
                    fault: fault.cloned(),
                    partial,
                });
            }
            (FaultPolicy::Pass, _) | (FaultPolicy::Refuse, Origin::Accepted) => {
                self.count_bypassed(batch.items());
                passed.kept = Some(batch);
            }
        }
    }

    /// Applies the fault policy to items that are no longer held.
    pub(super) fn let_go(&mut self, batches: Vec<Batch>, reason: Reason, emitted: &mut Vec<Batch>) {
        for batch in batches {
            match self.spec.on_fault {
                FaultPolicy::Drop => batch.tally.drop_all(self.column, reason),
                FaultPolicy::Pass | FaultPolicy::Refuse => {
                    self.count_bypassed(batch.items());
                    emitted.push(batch);
                }
            }
        }
    }

    pub(super) fn count_quarantine(&mut self) {
        let batches = self.quarantine.batches(ATTEMPTS);
        let before = std::mem::replace(&mut self.booked_quarantine, batches);
        if before != batches {
            self.post(|column| {
                column.quarantined = (column.quarantined + batches).saturating_sub(before);
            });
        }
    }

    /// Counts items that pass without a judgement, and logs when that begins.
    fn count_bypassed(&self, items: u64) {
        let generation = self.column.generation;
        let mut begins = false;
        self.post(|column| begins = column.add_bypassed(generation, items));
        if begins {
            let policy = self.spec.on_fault;
            tracing::warn!(
                pipeline = self.ledger.pipeline(), stage = %self.spec.name, generation,
                on_fault = policy.label(), remedy = policy.remedy(),
                "plugin bypassed: items pass its stage unjudged, because it failed or held them for too long"
            );
        }
    }

    /// Logs when no items pass without a judgement any more.
    pub(super) fn end_bypass(&self) {
        let generation = self.column.generation;
        let mut ended = None;
        self.post(|column| ended = column.ends_bypass(generation));
        if let Some(bypassed) = ended {
            tracing::info!(
                pipeline = self.ledger.pipeline(), stage = %self.spec.name, generation, bypassed,
                "plugin bypassed no more: nothing has passed its stage unjudged for 30 s"
            );
        }
    }
}
