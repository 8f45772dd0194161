//! A stage on one shard: the running generation, and optionally a candidate beside it.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use spandrel_wire::{HeldItems, Limits, Reads};
use tokio::time::Instant;

use super::canary::Canary;
use super::candidate::RunningCandidate;
use super::comparison::Comparison;
use super::sample::{Sample, Sampler};
use super::shadow::{RunningReply, Shadow};
use super::succession::{Fallback, RetainedState, Succession};
use super::target::Target;
use crate::batch::Batch;
use crate::completion::RecordGuards;
use crate::handover::{HeldHandover, StageHandover};
use crate::ledger::{Ledger, Tally};
use crate::plugin::{DrainReason, Generation, Instance, State};
use crate::stage::run::batch::StageBatch;
use crate::stage::run::output::{BatchOwner, StageOutput};
use crate::stage::run::runner::StageRunner;
use crate::stage::spec::{Mode, StageSpec, StateTransfer};

/// A stage on one shard, with the running generation and its candidate, if any.
pub(crate) struct StageSlot {
    runner: StageRunner,
    candidate: Option<RunningCandidate>,
    spec: Arc<StageSpec>,
    retained: Option<RetainedState>,
    sample: Arc<Sample>,
    sampler: Sampler,
    limits: Limits,
    ledger: Arc<Ledger>,
}

/// The distance of a canary's tickets from those of the generation that it runs beside, so that
/// either can take over the items that the other one holds.
const TICKETS_APART: u64 = 1 << 40;

impl StageSlot {
    /// Makes a slot where no generation ran before; `None` if there is no instance.
    pub(crate) async fn new(target: Target, limits: Limits, ledger: Arc<Ledger>) -> Option<Self> {
        let Target {
            spec,
            instance,
            candidate,
            sample,
            comparison,
        } = target;
        let runner = StageRunner::new(
            Arc::clone(&spec),
            Arc::clone(&spec.generation),
            limits,
            Arc::clone(&ledger),
            instance?,
            1,
        );
        let mut slot = Self {
            runner,
            candidate: None,
            spec,
            retained: None,
            sample,
            sampler: Sampler::default(),
            limits,
            ledger,
        };
        slot.begin_candidate(candidate, comparison, &mut Vec::new())
            .await;
        Some(slot)
    }

    pub(crate) fn name(&self) -> &str {
        &self.spec.name
    }

    /// Returns the time when [`StageSlot::tick`] is due.
    pub(crate) fn next_tick(&self) -> Instant {
        let own = self.runner.next_tick();
        let candidate = self.candidate.as_ref();
        let due = candidate.and_then(RunningCandidate::next_tick);
        due.map_or(own, |due| own.min(due))
    }

    /// Returns the parts that the plugin reads, if it takes a projection; it does not with a
    /// candidate beside it.
    pub(crate) fn reads(&self) -> Option<&Reads> {
        match self.candidate {
            None => self.runner.reads(),
            Some(_) => None,
        }
    }

    /// Runs one batch through the stage.
    pub(crate) async fn process(
        &mut self,
        mut batch: StageBatch,
        owner: BatchOwner,
    ) -> StageOutput {
        self.sampler.see(&batch.input, &self.sample);
        match &mut self.candidate {
            None => self.runner.process(batch, owner).await,
            Some(RunningCandidate::Canary(canary)) => {
                canary.process(&mut self.runner, batch, owner).await
            }
            Some(RunningCandidate::Shadow(shadow)) => {
                batch.input.make_whole();
                let came = batch.input.whole();
                let passed = self.runner.process(batch, owner).await;
                let generation = Arc::clone(self.runner.generation());
                let manifest = generation.manifest();
                let recording = self.runner.take_recording().unwrap_or_default();
                if let Some((ticket, verdicts)) = &recording.judged {
                    let kept = passed.kept.as_ref().map(|kept| kept.input.whole());
                    let ran = RunningReply {
                        ticket: *ticket,
                        verdicts,
                        kept: kept.as_deref().unwrap_or_default(),
                        manifest,
                    };
                    shadow.see(came, ran).await;
                }
                // The released items may be from this same batch.
                shadow.settle_running(&recording.released, manifest);
                passed
            }
        }
    }

    /// Lets time pass for the plugins, and checks the limits on held items.
    pub(crate) async fn tick(&mut self, now: Instant) -> Vec<Batch> {
        let mut emitted = Vec::new();
        if self.runner.next_tick() <= now {
            emitted = self.runner.tick().await;
        }
        match &mut self.candidate {
            None => {}
            Some(RunningCandidate::Canary(canary)) if canary.runner.next_tick() <= now => {
                emitted.extend(canary.runner.tick().await);
            }
            Some(RunningCandidate::Canary(_)) => {}
            Some(RunningCandidate::Shadow(shadow)) => {
                let recording = self.runner.take_recording().unwrap_or_default();
                let generation = Arc::clone(self.runner.generation());
                shadow.settle_running(&recording.released, generation.manifest());
                shadow.tick(now).await;
            }
        }
        emitted
    }

    /// Drains the plugins; see [`StageRunner::drain`].
    pub(crate) async fn drain(&mut self, reason: DrainReason, left: Duration) -> Vec<Batch> {
        match &mut self.candidate {
            Some(RunningCandidate::Canary(canary)) => {
                let mut emitted = self.runner.drain(reason, left / 2).await;
                emitted.extend(canary.runner.drain(reason, left / 2).await);
                emitted
            }
            None | Some(RunningCandidate::Shadow(_)) => self.runner.drain(reason, left).await,
        }
    }

    /// Ends the calls at a stop after which the next process continues; see [`StageRunner::stop`].
    /// A canary's state and held items go to the generation that it runs beside.
    pub(crate) async fn stop(&mut self, left: Duration) -> (Vec<Batch>, Option<State>) {
        let mut emitted = Vec::new();
        let running = Arc::clone(self.runner.generation());
        self.end_candidate(&running, &mut emitted).await;
        let (let_go, state) = self.runner.stop(left).await;
        emitted.extend(let_go);
        (emitted, state)
    }

    /// Leaves state and held items for the next process; see [`StageRunner::leave_behind`].
    pub(crate) fn leave_behind(&mut self, state: Option<State>) -> (StageHandover, Vec<Tally>) {
        self.runner.leave_behind(state)
    }

    /// Takes up what the last process left; see [`StageRunner::take_up`].
    pub(crate) async fn take_up(
        &mut self,
        left: StageHandover,
        held: Vec<(HeldHandover, HeldItems)>,
        guards: &mut RecordGuards<'_>,
    ) -> StateTransfer {
        self.runner.take_up(left, held, guards).await
    }

    /// Returns true if something is held here.
    pub(crate) fn holds(&self) -> bool {
        self.runner.holds() || self.candidate.as_ref().is_some_and(RunningCandidate::holds)
    }

    /// Returns a copy of the running instance's state, for a probe.
    pub(crate) async fn copy_state(&mut self, emitted: &mut Vec<Batch>) -> Option<State> {
        let state = self.runner.copy_state(emitted).await;
        self.runner
            .count_left(emitted.iter().map(Batch::items).sum());
        state
    }

    /// Removes a slot that holds nothing any more from the books.
    pub(crate) fn end(self) {
        self.runner.end();
        if let Some(candidate) = self.candidate {
            candidate.end();
        }
    }

    /// Changes the slot to `target`. Items that are let go in the process are added to `emitted`.
    pub(crate) async fn change(
        mut self,
        target: Target,
        emitted: &mut Vec<Batch>,
    ) -> (Self, Option<StateTransfer>) {
        let Target {
            spec,
            instance,
            candidate,
            sample,
            comparison,
        } = target;
        self.sample = sample;
        let wanted = Arc::clone(&spec.generation);
        let mut carried = None;
        let running = self.candidate.as_ref();
        let ends = running.is_some_and(|running| !running.is_wanted(&spec));
        self.spec = spec;
        if ends {
            carried = self.end_candidate(&wanted, emitted).await;
        }
        if !Arc::ptr_eq(self.runner.generation(), &wanted)
            && let Some(instance) = instance
        {
            carried = Some(self.swap(wanted, instance, emitted).await);
        }
        self.runner.set_spec(Arc::clone(&self.spec));
        if !self.spec.on_probation {
            self.retained = None;
        }
        self.begin_candidate(candidate, comparison, emitted).await;
        self.runner
            .count_left(emitted.iter().map(Batch::items).sum());
        (self, carried)
    }

    /// Ends the candidate. A canary that becomes the wanted generation takes over from the running
    /// one; otherwise the running generation takes over from the canary.
    async fn end_candidate(
        &mut self,
        wanted: &Arc<dyn Generation>,
        emitted: &mut Vec<Batch>,
    ) -> Option<StateTransfer> {
        self.runner.record_replies(false);
        let Some(RunningCandidate::Canary(canary)) = self.candidate.take() else {
            return None;
        };
        let mut other = canary.runner;
        if Arc::ptr_eq(other.generation(), wanted) {
            std::mem::swap(&mut self.runner, &mut other);
            self.runner.set_spec(Arc::clone(&self.spec));
            return Some(self.take_over(other, Fallback::Own, emitted).await);
        }
        let succession = Succession::new(&mut self.runner, Fallback::Own, emitted);
        // The knowledge of a canary is added to the running generation; nobody goes back to it.
        let (carried, _) = succession.run(other, false).await;
        Some(carried)
    }

    async fn swap(
        &mut self,
        wanted: Arc<dyn Generation>,
        instance: Box<dyn Instance>,
        emitted: &mut Vec<Batch>,
    ) -> StateTransfer {
        let retained = self.retained.take().filter(|kept| kept.is_of(&wanted));
        let runner = StageRunner::new(
            Arc::clone(&self.spec),
            wanted,
            self.limits,
            Arc::clone(&self.ledger),
            instance,
            self.runner.last_ticket().saturating_add(1),
        );
        let old = std::mem::replace(&mut self.runner, runner);
        if let Some(RunningCandidate::Shadow(_)) = self.candidate {
            self.runner.record_replies(true);
        }
        self.take_over(old, Fallback::Earlier(retained), emitted)
            .await
    }

    /// Lets the running generation take over from another one, whose state is retained while the
    /// running one is on probation.
    async fn take_over(
        &mut self,
        other: StageRunner,
        fallback: Fallback,
        emitted: &mut Vec<Batch>,
    ) -> StateTransfer {
        let retains = self.spec.on_probation;
        let succession = Succession::new(&mut self.runner, fallback, emitted);
        let (carried, retained) = succession.run(other, retains).await;
        self.retained = retained;
        carried
    }

    async fn begin_candidate(
        &mut self,
        candidate: Option<Box<dyn Instance>>,
        comparison: Arc<Mutex<Comparison>>,
        emitted: &mut Vec<Batch>,
    ) {
        let Some(wanted) = &self.spec.candidate else {
            return;
        };
        let generation = Arc::clone(&wanted.generation);
        match (wanted.mode, &mut self.candidate, candidate) {
            (Mode::Canary(share), Some(RunningCandidate::Canary(canary)), _) => {
                canary.set_share(share, &self.runner);
                canary.runner.set_spec(Arc::clone(&self.spec));
            }
            (Mode::Canary(share), None, Some(instance)) => {
                let mut runner = StageRunner::new(
                    Arc::clone(&self.spec),
                    generation,
                    self.limits,
                    Arc::clone(&self.ledger),
                    instance,
                    self.runner.last_ticket().saturating_add(TICKETS_APART),
                );
                // With a state that names held items, the canary would settle items that the
                // running generation settles.
                if self.runner.never_holds()
                    && let Some(state) = self.runner.copy_state(emitted).await
                {
                    let last = self.runner.last_ticket();
                    runner.begin_with(state, last, emitted).await;
                }
                let canary = Canary::new(runner, share, &self.runner);
                self.candidate = Some(RunningCandidate::Canary(Box::new(canary)));
            }
            (Mode::Shadow, None, Some(instance)) => {
                let state = self.runner.copy_state(emitted).await;
                let shadow = Shadow::new(
                    generation,
                    instance,
                    state,
                    comparison,
                    Arc::clone(&self.ledger),
                    &self.spec.name,
                    self.limits,
                );
                self.candidate = Some(RunningCandidate::Shadow(Box::new(shadow.await)));
                self.runner.record_replies(true);
            }
            _ => {}
        }
    }
}
