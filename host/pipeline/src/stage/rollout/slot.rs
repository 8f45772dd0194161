//! A stage on one shard: the running generation, and optionally a candidate beside it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use spandrel_wire::{HeldItems, Limits, Reads};
use tokio::time::Instant;

use super::canary::Canary;
use super::comparison::Comparison;
use super::sample::{Sample, Sampler};
use super::shadow::{RunningReply, Shadow};
use crate::batch::Batch;
use crate::completion::Guards;
use crate::handover::{HeldLeft, StageLeft};
use crate::ledger::{Ledger, Tally};
use crate::plugin::{DrainReason, Generation, Instance, State};
use crate::stage::run::batch::StageBatch;
use crate::stage::run::runner::{Fallback, Origin, RetainedState, StageOutput, StageRunner};
use crate::stage::spec::{Carried, Mode, StageSpec};

/// The target state of a stage on one shard.
pub(crate) struct Target {
    /// The spec, with this shard's share of the limits.
    pub(crate) spec: Arc<StageSpec>,
    /// An instance, if the generation does not run here yet.
    pub(crate) instance: Option<Box<dyn Instance>>,
    /// An instance, if the candidate does not run beside the generation yet.
    pub(crate) candidate: Option<Box<dyn Instance>>,
    pub(crate) sample: Arc<Sample>,
    pub(crate) comparison: Arc<Mutex<Comparison>>,
}

/// A stage on one shard, with the running generation and its candidate, if any.
pub(crate) struct StageSlot {
    runner: StageRunner,
    beside: Option<Beside>,
    spec: Arc<StageSpec>,
    retained: Option<RetainedState>,
    sample: Arc<Sample>,
    sampler: Sampler,
    limits: Limits,
    ledger: Arc<Ledger>,
}

enum Beside {
    Canary(Box<Canary>),
    Shadow(Box<Shadow>),
}

/// The distance of a canary's tickets from those of the generation that it runs beside, so that
/// either can take over the items that the other one holds.
const TICKETS_APART: u64 = 1 << 40;

impl StageSlot {
    /// Makes a place where no generation ran before; `None` if there is no instance.
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
        let mut place = Self {
            runner,
            beside: None,
            spec,
            retained: None,
            sample,
            sampler: Sampler::default(),
            limits,
            ledger,
        };
        place
            .begin_beside(candidate, comparison, &mut Vec::new())
            .await;
        Some(place)
    }

    pub(crate) fn name(&self) -> &str {
        &self.spec.name
    }

    /// Returns the time when [`StageSlot::tick`] is due.
    pub(crate) fn next_tick(&self) -> Instant {
        let own = self.runner.next_tick();
        let beside = match &self.beside {
            None => None,
            Some(Beside::Canary(canary)) => Some(canary.runner.next_tick()),
            Some(Beside::Shadow(shadow)) => shadow.next_tick(),
        };
        beside.map_or(own, |beside| own.min(beside))
    }

    /// Returns the parts that the plugin reads, if it takes a projection; it does not with a
    /// candidate beside it.
    pub(crate) fn reads(&self) -> Option<&Reads> {
        match self.beside {
            None => self.runner.reads(),
            Some(_) => None,
        }
    }

    /// Runs one batch through the stage.
    pub(crate) async fn process(&mut self, mut batch: StageBatch, origin: Origin) -> StageOutput {
        self.sampler.see(&batch.input, &self.sample);
        match &mut self.beside {
            None => self.runner.process(batch, origin).await,
            Some(Beside::Canary(canary)) => canary.process(&mut self.runner, batch, origin).await,
            Some(Beside::Shadow(shadow)) => {
                batch.input.make_whole();
                let came = batch.input.whole();
                let passed = self.runner.process(batch, origin).await;
                let generation = Arc::clone(self.runner.generation());
                let manifest = generation.manifest();
                let witness = self.runner.take_witness().unwrap_or_default();
                if let Some((ticket, verdicts)) = &witness.judged {
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
                shadow.settle_running(&witness.released, manifest);
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
        match &mut self.beside {
            None => {}
            Some(Beside::Canary(canary)) if canary.runner.next_tick() <= now => {
                emitted.extend(canary.runner.tick().await);
            }
            Some(Beside::Canary(_)) => {}
            Some(Beside::Shadow(shadow)) => {
                let witness = self.runner.take_witness().unwrap_or_default();
                let generation = Arc::clone(self.runner.generation());
                shadow.settle_running(&witness.released, generation.manifest());
                shadow.tick(now).await;
            }
        }
        emitted
    }

    /// Drains the plugins; see [`StageRunner::drain`].
    pub(crate) async fn drain(&mut self, reason: DrainReason, left: Duration) -> Vec<Batch> {
        match &mut self.beside {
            Some(Beside::Canary(canary)) => {
                let mut emitted = self.runner.drain(reason, left / 2).await;
                emitted.extend(canary.runner.drain(reason, left / 2).await);
                emitted
            }
            None | Some(Beside::Shadow(_)) => self.runner.drain(reason, left).await,
        }
    }

    /// Ends the calls at a stop after which the next process continues; see [`StageRunner::stop`].
    /// A canary's state and held items go to the generation that it runs beside.
    pub(crate) async fn stop(&mut self, left: Duration) -> (Vec<Batch>, Option<State>) {
        let mut emitted = Vec::new();
        let running = Arc::clone(self.runner.generation());
        self.end_beside(&running, &mut emitted).await;
        let (let_go, state) = self.runner.stop(left).await;
        emitted.extend(let_go);
        (emitted, state)
    }

    /// Leaves state and held items for the next process; see [`StageRunner::leave_behind`].
    pub(crate) fn leave_behind(&mut self, state: Option<State>) -> (StageLeft, Vec<Tally>) {
        self.runner.leave_behind(state)
    }

    /// Takes up what the last process left; see [`StageRunner::take_up`].
    pub(crate) async fn take_up(
        &mut self,
        left: StageLeft,
        held: Vec<(HeldLeft, HeldItems)>,
        guards: &mut Guards<'_>,
    ) -> Carried {
        self.runner.take_up(left, held, guards).await
    }

    /// Returns true if something is held here.
    pub(crate) fn holds(&self) -> bool {
        let beside = match &self.beside {
            Some(Beside::Canary(canary)) => canary.runner.holds(),
            None | Some(Beside::Shadow(_)) => false,
        };
        beside || self.runner.holds()
    }

    /// Returns a copy of the running instance's state, for a probe.
    pub(crate) async fn trial_snapshot(&mut self, emitted: &mut Vec<Batch>) -> Option<State> {
        let state = self.runner.trial_snapshot(emitted).await;
        self.runner
            .count_left(emitted.iter().map(Batch::items).sum());
        state
    }

    /// Removes a place that holds nothing any more from the books.
    pub(crate) fn end(self) {
        self.runner.end();
        if let Some(Beside::Canary(canary)) = self.beside {
            canary.runner.end();
        }
    }

    /// Changes the place to `target`. Items that are let go in the process are added to `emitted`.
    pub(crate) async fn change(
        mut self,
        target: Target,
        emitted: &mut Vec<Batch>,
    ) -> (Self, Option<Carried>) {
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
        let ends_beside = self.ends_beside(&spec);
        self.spec = spec;
        if ends_beside {
            carried = self.end_beside(&wanted, emitted).await;
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
        self.begin_beside(candidate, comparison, emitted).await;
        self.runner
            .count_left(emitted.iter().map(Batch::items).sum());
        (self, carried)
    }

    /// Returns true if `spec` has no place for the candidate that runs now.
    fn ends_beside(&self, spec: &StageSpec) -> bool {
        let wanted = spec.beside.as_ref();
        let same = |generation: &Arc<dyn Generation>| {
            wanted.is_some_and(|wanted| Arc::ptr_eq(&wanted.generation, generation))
        };
        let mode = wanted.map(|wanted| wanted.mode);
        match &self.beside {
            None => false,
            Some(Beside::Canary(canary)) => {
                let candidate = canary.runner.generation();
                let is_promoted = Arc::ptr_eq(candidate, &spec.generation);
                is_promoted || !same(candidate) || !matches!(mode, Some(Mode::Canary(_)))
            }
            Some(Beside::Shadow(shadow)) => {
                !same(shadow.generation()) || mode != Some(Mode::Shadow)
            }
        }
    }

    /// Ends the candidate. A canary that becomes the wanted generation takes over from the running
    /// one; otherwise the running generation takes over from the canary.
    async fn end_beside(
        &mut self,
        wanted: &Arc<dyn Generation>,
        emitted: &mut Vec<Batch>,
    ) -> Option<Carried> {
        self.runner.watch(false);
        let Some(Beside::Canary(canary)) = self.beside.take() else {
            return None;
        };
        let mut other = canary.runner;
        if Arc::ptr_eq(other.generation(), wanted) {
            std::mem::swap(&mut self.runner, &mut other);
            self.runner.set_spec(Arc::clone(&self.spec));
            let taken = self.runner.take_over(other, Fallback::Own, emitted);
            let (carried, last) = taken.await;
            self.retained = last;
            return Some(carried);
        }
        let taken = self.runner.take_over(other, Fallback::Own, emitted);
        Some(taken.await.0)
    }

    async fn swap(
        &mut self,
        wanted: Arc<dyn Generation>,
        instance: Box<dyn Instance>,
        emitted: &mut Vec<Batch>,
    ) -> Carried {
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
        if let Some(Beside::Shadow(_)) = self.beside {
            self.runner.watch(true);
        }
        let fallback = Fallback::Earlier(retained);
        let (carried, last) = self.runner.take_over(old, fallback, emitted).await;
        self.retained = last;
        carried
    }

    async fn begin_beside(
        &mut self,
        candidate: Option<Box<dyn Instance>>,
        comparison: Arc<Mutex<Comparison>>,
        emitted: &mut Vec<Batch>,
    ) {
        let Some(beside) = &self.spec.beside else {
            return;
        };
        let generation = Arc::clone(&beside.generation);
        match (beside.mode, &mut self.beside, candidate) {
            (Mode::Canary(share), Some(Beside::Canary(canary)), _) => {
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
                    && let Some(state) = self.runner.trial_snapshot(emitted).await
                {
                    let last = self.runner.last_ticket();
                    runner.begin_with(state, last, emitted).await;
                }
                let canary = Canary::new(runner, share, &self.runner);
                self.beside = Some(Beside::Canary(Box::new(canary)));
            }
            (Mode::Shadow, None, Some(instance)) => {
                let state = self.runner.trial_snapshot(emitted).await;
                let shadow = Shadow::new(
                    generation,
                    instance,
                    state,
                    comparison,
                    Arc::clone(&self.ledger),
                    &self.spec.name,
                    self.limits,
                );
                self.beside = Some(Beside::Shadow(Box::new(shadow.await)));
                self.runner.watch(true);
            }
            _ => {}
        }
    }
}
