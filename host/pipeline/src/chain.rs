//! The stages of a pipeline on one shard, in order, and the batches that pass between them.
//!
//! If two or more stages in a row have settled on what they read, a batch goes through them as a
//! *projection*: each stage sees only those parts of a span that one of them reads, their changes
//! add up, and the batch itself is written once, at the end of the row. The cost of writing it does
//! not grow with the length of the row.

use std::sync::Arc;
use std::time::Duration;

use spandrel_wire::{Limits, Reads};
use tokio::time::Instant;

use crate::batch::Batch;
use crate::handover::StageHandover;
use crate::ledger::{Ledger, Tally};
use crate::plugin::{DrainReason, State};
use crate::stage::rollout::slot::StageSlot;
use crate::stage::run::batch::StageBatch;
use crate::stage::run::output::{BatchOwner, StageOutput};

/// The least number of stages in a row for which a projection is worth its cost: for one stage it
/// costs about what it saves.
const ROW: usize = 2;

/// The least length in bytes of a batch that is projected: for a handful of spans, the fixed cost
/// of a projection is more than it saves.
const WORTH: usize = 4 * 1024;

/// The stages of a pipeline on one shard, in order.
pub(crate) struct Chain {
    stages: Vec<StageSlot>,
    limits: Limits,
    ledger: Arc<Ledger>,
}

impl Chain {
    pub(crate) fn new(stages: Vec<StageSlot>, limits: Limits, ledger: Arc<Ledger>) -> Self {
        Self {
            stages,
            limits,
            ledger,
        }
    }

    /// Returns the limits for each stage's plugin, and the ledger that the stages post to.
    pub(crate) fn terms(&self) -> (Limits, Arc<Ledger>) {
        (self.limits, Arc::clone(&self.ledger))
    }

    /// Takes all stages out. The caller puts them back as another row.
    pub(crate) fn take(&mut self) -> Vec<StageSlot> {
        std::mem::take(&mut self.stages)
    }

    pub(crate) fn put(&mut self, stages: Vec<StageSlot>) {
        self.stages = stages;
    }

    pub(crate) fn name(&self, index: usize) -> Option<&str> {
        self.stages.get(index).map(StageSlot::name)
    }

    pub(crate) fn position(&self, name: &str) -> Option<usize> {
        self.stages.iter().position(|stage| stage.name() == name)
    }

    /// Returns a copy of the state of a stage's instance.
    pub(crate) async fn copy_state(
        &mut self,
        name: &str,
        emitted: &mut Vec<Batch>,
    ) -> Option<State> {
        let index = self.position(name)?;
        self.stages.get_mut(index)?.copy_state(emitted).await
    }

    /// Returns true if the stage at `index` holds something.
    pub(crate) fn holds(&self, index: usize) -> bool {
        self.stages.get(index).is_some_and(StageSlot::holds)
    }

    pub(crate) fn len(&self) -> usize {
        self.stages.len()
    }

    /// Runs a batch through the stage at `index`; gives the batch back if there is no such stage.
    pub(crate) async fn step(
        &mut self,
        index: usize,
        mut batch: StageBatch,
        owner: BatchOwner,
    ) -> Result<StageOutput, StageBatch> {
        if batch.input.reads().is_none()
            && batch.input.len() >= WORTH
            && let Some(reads) = self.row(index)
        {
            batch.input.project(reads);
        }
        match self.stages.get_mut(index) {
            Some(stage) => Ok(stage.process(batch, owner).await),
            None => Err(batch),
        }
    }

    /// Returns what the row of stages from `index` on reads, as far as its stages take a
    /// projection; `None` if the row is too short.
    fn row(&self, index: usize) -> Option<Reads> {
        let first = self.stages.get(index)?.reads()?;
        let mut reads = first.clone();
        let rest = self.stages.iter().skip(index + 1);
        let added = rest.map_while(|stage| reads.add(stage.reads()?)).count();
        (added + 1 >= ROW).then_some(reads)
    }

    /// Returns the earliest time at which a stage needs a tick.
    pub(crate) fn next_tick(&self) -> Option<Instant> {
        self.stages.iter().map(StageSlot::next_tick).min()
    }

    /// Ticks the stage at `index`, if its tick is due.
    pub(crate) async fn tick(&mut self, index: usize, now: Instant) -> Vec<Batch> {
        match self.stages.get_mut(index) {
            Some(stage) if stage.next_tick() <= now => stage.tick(now).await,
            _ => Vec::new(),
        }
    }

    /// Ends the calls of the stage at `index`, so that the next process can go on with its state.
    pub(crate) async fn stop(
        &mut self,
        index: usize,
        share: Duration,
    ) -> (Vec<Batch>, Option<State>) {
        match self.stages.get_mut(index) {
            Some(stage) => stage.stop(share).await,
            None => (Vec::new(), None),
        }
    }

    /// Returns what the stages leave to the next process, each with its state, and the tallies of
    /// what they held.
    pub(crate) fn leave_behind(
        &mut self,
        states: Vec<Option<State>>,
    ) -> (Vec<StageHandover>, Vec<Tally>) {
        let mut tallies = Vec::new();
        let stages = self.stages.iter_mut().zip(states).map(|(stage, state)| {
            let (left, mut held) = stage.leave_behind(state);
            tallies.append(&mut held);
            left
        });
        (stages.collect(), tallies)
    }

    /// Returns the stage with this name.
    pub(crate) fn slot_mut(&mut self, name: &str) -> Option<&mut StageSlot> {
        self.stages.iter_mut().find(|stage| stage.name() == name)
    }

    /// Drains the stage at `index`.
    pub(crate) async fn drain(
        &mut self,
        index: usize,
        reason: DrainReason,
        share: Duration,
    ) -> Vec<Batch> {
        match self.stages.get_mut(index) {
            Some(stage) => stage.drain(reason, share).await,
            None => Vec::new(),
        }
    }
}
