//! The postings of one generation of a stage, on one shard, in the stage's column of the ledger.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use crate::batch::Batch;
use crate::completion::Guard;
use crate::handover::HeldHandover;
use crate::ledger::{Account, Column, Ledger, Source, StageBooks, StageVisit, Tally};
use crate::plugin::{Emission, FaultKind, Generation};
use crate::stage::spec::FaultPolicy;

/// Posts in the stage's column for one runner. The column has some figures that are sums over all
/// runners at this moment. This remembers the part of its runner, so that it can take the part out
/// again.
#[derive(Debug)]
pub(crate) struct StageCounts {
    ledger: Arc<Ledger>,
    column: Column,
    /// The stage's name, for the log.
    stage: String,
    /// The part of the column's `quarantined`.
    failed_batches: u64,
    /// True if this runner is counted in the column's `breakers_open`.
    breaker_is_open: bool,
}

impl StageCounts {
    /// Opens the stage's column for a generation.
    pub(super) fn new(ledger: Arc<Ledger>, stage: &str, generation: &dyn Generation) -> Self {
        let reasons = &generation.manifest().drop_reasons;
        let column = ledger.open(stage, generation.number(), reasons);
        Self {
            ledger,
            column,
            stage: stage.to_owned(),
            failed_batches: 0,
            breaker_is_open: false,
        }
    }

    /// Returns the stage's name.
    pub(super) fn stage(&self) -> &str {
        &self.stage
    }

    /// Returns the column that items are dropped in.
    pub(super) fn column(&self) -> Column {
        self.column
    }

    /// Returns the account of the items that the stage holds.
    pub(super) fn held_account(&self) -> Account {
        Account::Held(self.column.stage)
    }

    /// Counts items that are offered to the stage.
    pub(super) fn add_input(&self, retry: StageVisit, items: u64) {
        self.post(|column| match retry {
            StageVisit::First => column.add_input(self.column.generation, items),
            StageVisit::AfterFailure | StageVisit::AfterPass => column.retried += items,
        });
    }

    /// Counts items that left the stage.
    pub(super) fn add_output(&self, items: u64) {
        if items > 0 {
            self.post(|column| column.add_output(self.column.generation, items));
        }
    }

    /// Counts a call that began at this time and is over now.
    pub(super) fn add_call(&self, started: Instant) {
        let elapsed = started.elapsed();
        self.post(|column| column.add_call(self.column.generation, elapsed));
    }

    /// Counts the processor time of a call with so many items.
    pub(super) fn add_sample(&self, items: u64, time: Duration) {
        self.post(|column| {
            if let Some(figures) = column.generation_mut(self.column.generation) {
                figures.samples.add(items, time);
            }
        });
    }

    /// Counts a failed call.
    pub(super) fn add_fault(&self, kind: FaultKind) {
        self.post(|column| column.add_fault(self.column.generation, kind));
    }

    /// Counts an instance that was made after a fault.
    pub(super) fn add_restart(&self) {
        self.post(|column| column.restarts += 1);
    }

    /// Counts items that pass without a judgement, and logs when that begins.
    pub(super) fn add_bypassed(&self, items: u64, policy: FaultPolicy) {
        let generation = self.column.generation;
        let mut begins = false;
        self.post(|column| begins = column.add_bypassed(generation, items));
        if begins {
            tracing::warn!(
                pipeline = self.ledger.pipeline(), stage = %self.stage, generation,
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
                pipeline = self.ledger.pipeline(), stage = %self.stage, generation, bypassed,
                "plugin no longer bypassed: nothing has passed its stage unjudged for 30 s"
            );
        }
    }

    /// Books that the runner holds so many bytes, after it held so many before.
    pub(super) fn change_held_bytes(&self, before: u64, now: u64) {
        if before != now {
            self.post(|column| {
                column.held_bytes = (column.held_bytes + now).saturating_sub(before);
            });
        }
    }

    /// Books how many batches the runner does not offer to the plugin any more.
    pub(super) fn set_failed_batches(&mut self, batches: u64) {
        let before = std::mem::replace(&mut self.failed_batches, batches);
        if before != batches {
            self.post(|column| {
                column.quarantined = (column.quarantined + batches).saturating_sub(before);
            });
        }
    }

    /// Books whether the runner's breaker is open.
    pub(super) fn set_breaker(&mut self, is_open: bool) {
        let was_open = std::mem::replace(&mut self.breaker_is_open, is_open);
        if was_open != is_open {
            self.post(|column| {
                column.breakers_open =
                    (column.breakers_open + u64::from(is_open)).saturating_sub(u64::from(was_open));
            });
        }
    }

    /// Books the items that a plugin made, and returns them as a batch.
    pub(super) fn create(&self, emission: &Emission, items: u64, source: Source) -> Batch {
        Batch {
            bytes: Bytes::copy_from_slice(&emission.created),
            tally: self.ledger.create(items, source),
        }
    }

    /// Books items again that were held when the last process stopped. Their records are finished
    /// when they are settled.
    pub(super) fn hold_again(&self, left: &HeldHandover, guard: Guard) -> Tally {
        let items = left.indices.len() as u64;
        let mut tally = self.ledger.replay(items, false, guard);
        if let Some(written) = left.written {
            tally.write_at(written);
        }
        tally.transfer(self.held_account());
        tally
    }

    /// Takes the runner's parts out of the column's sums.
    pub(super) fn close(mut self) {
        self.set_failed_batches(0);
        self.set_breaker(false);
        self.ledger.close(self.column);
    }

    fn post(&self, entry: impl FnOnce(&mut StageBooks)) {
        self.ledger.post_stage(self.column.stage, entry);
    }
}
