//! The stages of a pipeline on one shard, in order, and what passes between them.
//!
//! Where two stages or more in a row have settled on what they read, a batch goes through them as a
//! *projection*: each sees of every span only what one of them reads, their changes add up, and the
//! batch itself is written once, at the end of the row. Its cost does not grow with the row.

use std::sync::Arc;
use std::time::Duration;

use spandrel_wire::{Limits, Reads};
use tokio::time::Instant;

use crate::batch::Batch;
use crate::handover::StageLeft;
use crate::ledger::{Ledger, Tally};
use crate::stage::place::Place;
use crate::stage::runner::{Origin, Passed};
use crate::stage::transit::Transit;
use crate::stage::{DrainReason, State};

/// Stages in a row that are worth a projection: for one it costs about what it saves.
const ROW: usize = 2;

/// Smaller batches are not projected: what a projection costs beside the work on spans is more than
/// it saves on a handful of them.
const WORTH: usize = 4 * 1024;

/// See the module.
pub(crate) struct Chain {
    stages: Vec<Place>,
    limits: Limits,
    ledger: Arc<Ledger>,
}

impl Chain {
    pub(crate) fn new(stages: Vec<Place>, limits: Limits, ledger: Arc<Ledger>) -> Self {
        Self {
            stages,
            limits,
            ledger,
        }
    }

    /// What each stage's plugin is held to, and where it is booked.
    pub(crate) fn terms(&self) -> (Limits, Arc<Ledger>) {
        (self.limits, Arc::clone(&self.ledger))
    }

    /// Takes all stages out, to be put back as another row.
    pub(crate) fn take(&mut self) -> Vec<Place> {
        std::mem::take(&mut self.stages)
    }

    pub(crate) fn put(&mut self, stages: Vec<Place>) {
        self.stages = stages;
    }

    pub(crate) fn name(&self, index: usize) -> Option<&str> {
        self.stages.get(index).map(Place::name)
    }

    pub(crate) fn position(&self, name: &str) -> Option<usize> {
        self.stages.iter().position(|stage| stage.name() == name)
    }

    /// A copy of the state of a stage's instance.
    pub(crate) async fn trial_snapshot(
        &mut self,
        name: &str,
        emitted: &mut Vec<Batch>,
    ) -> Option<State> {
        let index = self.position(name)?;
        self.stages.get_mut(index)?.trial_snapshot(emitted).await
    }

    /// Whether the stage at `index` holds something.
    pub(crate) fn holds(&self, index: usize) -> bool {
        self.stages.get(index).is_some_and(Place::holds)
    }

    pub(crate) fn len(&self) -> usize {
        self.stages.len()
    }

    /// Runs a batch through the stage at `index`; gives it back when there is none.
    pub(crate) async fn step(
        &mut self,
        index: usize,
        mut batch: Transit,
        origin: Origin,
    ) -> Result<Passed, Transit> {
        if batch.input.reads().is_none()
            && batch.input.len() >= WORTH
            && let Some(reads) = self.row(index)
        {
            batch.input.project(reads);
        }
        match self.stages.get_mut(index) {
            Some(stage) => Ok(stage.process(batch, origin).await),
            None => Err(batch),
        }
    }

    /// What the stages from `index` on read, as far as they take a projection, if they are a row.
    fn row(&self, index: usize) -> Option<Reads> {
        let first = self.stages.get(index)?.reads()?;
        let mut reads = first.clone();
        let rest = self.stages.iter().skip(index + 1);
        let added = rest.map_while(|stage| reads.add(stage.reads()?)).count();
        (added + 1 >= ROW).then_some(reads)
    }

    /// When a stage wants to be looked after.
    pub(crate) fn next_tick(&self) -> Option<Instant> {
        self.stages.iter().map(Place::next_tick).min()
    }

    /// Ticks the stage at `index`, if that is due.
    pub(crate) async fn tick(&mut self, index: usize, now: Instant) -> Vec<Batch> {
        match self.stages.get_mut(index) {
            Some(stage) if stage.next_tick() <= now => stage.tick(now).await,
            _ => Vec::new(),
        }
    }

    /// Ends the calls of the stage at `index`, for the next process to go on.
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

    /// What the stages leave to the next process, each with its state.
    pub(crate) fn leave_behind(
        &mut self,
        states: Vec<Option<State>>,
    ) -> (Vec<StageLeft>, Vec<Tally>) {
        let mut tallies = Vec::new();
        let stages = self.stages.iter_mut().zip(states).map(|(stage, state)| {
            let (left, mut held) = stage.leave_behind(state);
            tallies.append(&mut held);
            left
        });
        (stages.collect(), tallies)
    }

    /// The stage with this name.
    pub(crate) fn place_mut(&mut self, name: &str) -> Option<&mut Place> {
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
