//! One stage on one shard: calls the plugin's instance, checks its answers, applies them to the
//! batch and to held items, and applies the fault policy if the plugin fails.

mod holding;
mod recovery;
mod restart;
mod succession;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use spandrel_wire::{Limits, Reads};
use tokio::time::Instant;

use self::recovery::FaultLog;
pub(crate) use self::succession::{Fallback, RetainedState};
use super::batch::StageBatch;
use super::breaker::{Breaker, Gate};
use super::failed_batches::{ATTEMPTS, FailedBatches};
use super::learned::LearnedReads;
use super::reply::CheckedReply;
use crate::batch::Batch;
use crate::ledger::{Column, Ledger, Reason, Retry, Source, StageBooks};
use crate::plugin::{Fault, FaultKind, Generation, Input, Instance, Ticket};
use crate::refused::{Refusal, Refused};
use crate::stage::held::HeldTable;
use crate::stage::spec::{FaultPolicy, StageSpec};

/// The owner of a batch's items while it is in the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A sender waits for the answer: the batch can still be refused.
    Sender,
    /// The batch was accepted earlier, or made by a plugin.
    Accepted,
}

/// The output of a stage.
#[derive(Debug, Default)]
pub(crate) struct StageOutput {
    /// The batch that went in, without the items that were dropped or held.
    pub kept: Option<StageBatch>,
    /// Batches that were released, created or recovered beside it. They were accepted before.
    pub emitted: Vec<Batch>,
    /// The reason why the batch was refused.
    pub refused: Option<Refusal>,
}

/// The time between two checks of held items, and of a plugin that waits to be instantiated again,
/// if the plugin itself asks for no ticks.
pub const HOUSEKEEPING: Duration = Duration::from_secs(1);
/// The retry hint to senders whose batch was refused because the plugin failed.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// One stage on one shard, with its instance, its held items and its breaker.
pub(crate) struct StageRunner {
    column: Column,
    spec: Arc<StageSpec>,
    generation: Arc<dyn Generation>,
    limits: Limits,
    ledger: Arc<Ledger>,
    instance: Option<Box<dyn Instance>>,
    /// The parts of spans that this instance reads.
    learned: LearnedReads,
    rebuild_at: Instant,
    last_ticket: Ticket,
    held: HeldTable,
    /// True if some held items were held by an instance that is gone.
    orphaned: bool,
    /// The batches that are being offered to a new instance. They are here and not in the call, so
    /// that they go on if the call is cut off.
    offering: VecDeque<Batch>,
    /// True if the plugin failed when it was asked for a copy of its state; it is not asked again
    /// for a trial.
    no_trials: bool,
    breaker: Breaker,
    quarantine: FailedBatches,
    fault_log: FaultLog,
    /// The time when this stage is to be looked at again.
    wake_at: Instant,
    /// The time when the plugin's own tick is due, if it asked for ticks.
    tick_at: Option<Instant>,
    /// The plugin's exact answers, while they are compared with those of another.
    witness: Option<ReplyRecording>,
    /// The number of quarantined batches that the ledger was last told.
    booked_quarantine: u64,
}

/// The plugin's exact answers since they were last taken.
#[derive(Debug, Default)]
pub(crate) struct ReplyRecording {
    /// The last batch's ticket and verdicts; `None` if it was not judged.
    pub judged: Option<(Ticket, Vec<u8>)>,
    /// Ticket, index and outcome of released items, as they crossed the boundary.
    pub released: Vec<u64>,
}

impl StageRunner {
    /// Makes a runner of this generation in the place that `spec` describes; `spec.hold` is this
    /// shard's share. No ticket is lower than `first_ticket`.
    pub(crate) fn new(
        spec: Arc<StageSpec>,
        generation: Arc<dyn Generation>,
        limits: Limits,
        ledger: Arc<Ledger>,
        instance: Box<dyn Instance>,
        first_ticket: Ticket,
    ) -> Self {
        let now = Instant::now();
        let breaker = Breaker::new(spec.breaker.clone());
        let manifest = generation.manifest();
        let interval = manifest.tick_interval;
        let column = ledger.open(&spec.name, generation.number(), &manifest.drop_reasons);
        Self {
            column,
            spec,
            generation,
            limits,
            ledger,
            instance: Some(instance),
            learned: LearnedReads::default(),
            rebuild_at: now,
            last_ticket: first_ticket.saturating_sub(1),
            held: HeldTable::default(),
            orphaned: false,
            offering: VecDeque::new(),
            no_trials: false,
            breaker,
            quarantine: FailedBatches::default(),
            fault_log: FaultLog::default(),
            wake_at: now + interval.map_or(HOUSEKEEPING, |interval| interval.min(HOUSEKEEPING)),
            tick_at: interval.map(|interval| now + interval),
            witness: None,
            booked_quarantine: 0,
        }
    }

    /// Returns the generation that it runs.
    pub(crate) fn generation(&self) -> &Arc<dyn Generation> {
        &self.generation
    }

    /// Sets another fault policy and other limits for the same generation.
    pub(crate) fn set_spec(&mut self, spec: Arc<StageSpec>) {
        if spec.breaker != self.spec.breaker {
            self.breaker.configure(spec.breaker.clone());
        }
        self.spec = spec;
    }

    /// Starts to record the plugin's exact answers, or stops.
    pub(crate) fn watch(&mut self, watched: bool) {
        self.witness = watched.then(ReplyRecording::default);
    }

    /// Returns the answers since they were last taken.
    pub(crate) fn take_witness(&mut self) -> Option<ReplyRecording> {
        self.witness.as_mut().map(std::mem::take)
    }

    /// Returns true if nothing is held, and nothing will be.
    pub(crate) fn never_holds(&self) -> bool {
        !self.generation.manifest().holds && self.held.is_empty()
    }

    /// Returns true if something is held.
    pub(crate) fn holds(&self) -> bool {
        !self.held.is_empty()
    }

    /// Returns the trace ids of the held items.
    pub(crate) fn held_traces(&self) -> impl Iterator<Item = &[u8]> {
        self.held.trace_ids()
    }

    /// Returns the ticket that was given out last.
    pub(crate) fn last_ticket(&self) -> Ticket {
        self.last_ticket
    }

    /// Returns the time when [`StageRunner::tick`] is due.
    pub(crate) fn next_tick(&self) -> Instant {
        self.wake_at
    }

    /// Returns the parts that the plugin reads, if it takes a projection. A plugin that holds does
    /// not, because held items must be there in whole; neither does one that has failed lately,
    /// because failures are known by the bytes.
    pub(crate) fn reads(&self) -> Option<&Reads> {
        let takes = !self.generation.manifest().holds && self.quarantine.is_empty();
        self.learned.settled().filter(|_| takes)
    }

    /// Runs one batch through the plugin.
    pub(crate) async fn process(&mut self, mut batch: StageBatch, origin: Origin) -> StageOutput {
        let (items, generation) = (batch.items(), self.column.generation);
        let retry = batch.tally.try_again_at(&self.spec.name);
        self.post(|column| match retry {
            Retry::First => column.add_input(generation, items),
            Retry::Failed | Retry::Passed => column.retried += items,
        });
        let mut passed = StageOutput::default();
        let failures = self.failures(&mut batch.input);
        if failures >= ATTEMPTS
            && origin == Origin::Sender
            && self.spec.on_fault == FaultPolicy::Refuse
        {
            batch.tally.refuse();
            let stage = self.spec.name.clone();
            let refused = Refused::Quarantined {
                stage,
                attempts: failures,
            };
            passed.refused = Some(Refusal::from(refused));
        } else if failures >= ATTEMPTS || !self.ready(&mut passed.emitted).await {
            self.apply_policy(batch, origin, None, &mut passed);
        } else {
            self.call(batch, origin, &mut passed).await;
            self.relieve(&mut passed.emitted).await;
        }
        if retry == Retry::Passed {
            // The kept items were counted when the batch came through before.
            self.count_left(passed.emitted.iter().map(Batch::items).sum());
        } else {
            self.count_output(&passed);
        }
        passed
    }

    /// Returns how often the plugin failed on this batch.
    fn failures(&mut self, input: &mut Input) -> u32 {
        if self.quarantine.is_empty() {
            return 0;
        }
        input.make_whole();
        self.quarantine.failures(input.bytes())
    }

    /// Calls the plugin once and handles the result.
    async fn call(&mut self, mut batch: StageBatch, origin: Origin, passed: &mut StageOutput) {
        let has_reads = |has| self.reads().is_some_and(|reads| Reads::covers(has, reads));
        if !batch.input.reads().is_some_and(has_reads) {
            batch.input.make_whole();
        }
        let ticket = self.ticket();
        // Failures are forgotten by the bytes that came; while there are none, nobody asks for
        // these bytes.
        let came = (!self.quarantine.is_empty()).then(|| batch.input.whole());
        let items = batch.items();
        match self.judge(ticket, &mut batch.input, items).await {
            Ok(mut judgement) => {
                if let (Some(witness), Some(said)) = (&mut self.witness, judgement.said.take()) {
                    witness.judged = Some((ticket, said));
                }
                self.worked(came.as_deref().unwrap_or_default());
                self.apply(ticket, batch, judgement, passed);
            }
            Err(fault) => {
                batch.input.make_whole();
                self.failed(&fault, Some(batch.input.bytes()), &mut passed.emitted);
                self.apply_policy(batch, origin, Some(&fault), passed);
            }
        }
    }

    /// Lets time pass for the plugin, and checks the limits on held items.
    pub(crate) async fn tick(&mut self) -> Vec<Batch> {
        let mut passed = StageOutput::default();
        let interval = self.generation.manifest().tick_interval;
        let due = self.tick_at.is_some_and(|due| Instant::now() >= due);
        let ready = (due || !self.held.is_empty()) && self.ready(&mut passed.emitted).await;
        if let (true, true, Some(instance)) = (ready, due, &mut self.instance) {
            let started = Instant::now();
            let result = instance.tick().await;
            self.count_call(started);
            self.settle(result, &mut passed.emitted);
        }
        self.relieve(&mut passed.emitted).await;
        self.expire(&mut passed.emitted).await;
        self.quarantine.forget();
        self.count_quarantine();
        self.end_bypass();
        self.count_output(&passed);
        // The next tick counts from the end of the call, so a tick that takes longer than its
        // interval still leaves time for batches.
        let now = Instant::now();
        if due {
            self.tick_at = interval.map(|interval| now + interval);
        }
        let offers_more = ready && self.orphaned && self.instance.is_some();
        let soon = if offers_more { now } else { now + HOUSEKEEPING };
        self.wake_at = self.tick_at.map_or(soon, |tick| tick.min(soon));
        passed.emitted
    }

    fn ticket(&mut self) -> Ticket {
        self.last_ticket += 1;
        self.last_ticket
    }

    /// Calls the plugin with one batch. The answer is checked in whole, then applied to the batch;
    /// a failed call changes nothing.
    async fn judge(
        &mut self,
        ticket: Ticket,
        input: &mut Input,
        items: u64,
    ) -> Result<CheckedReply, Fault> {
        let Some(instance) = &mut self.instance else {
            return Err(Fault::new(FaultKind::Trap, "no instance"));
        };
        let started = Instant::now();
        let reply = instance.process(ticket, input).await;
        self.count_call(started);
        let mut reply = reply?;
        self.learned.add(reply.reads.take());
        let said = self.witness.is_some().then(|| reply.verdicts.clone());
        let mut judgement = CheckedReply::new(
            &self.held,
            self.generation.manifest(),
            &self.limits,
            input,
            items,
            reply,
        )
        .map_err(|message| Fault::new(FaultKind::BadReply, message))?;
        judgement.said = said;
        Ok(judgement)
    }

    /// Books a checked answer. Cannot fail.
    fn apply(
        &mut self,
        ticket: Ticket,
        mut batch: StageBatch,
        judgement: CheckedReply,
        passed: &mut StageOutput,
    ) {
        let CheckedReply {
            applied, released, ..
        } = judgement;
        let came = batch.items();
        let mut source = Source::default();
        if released
            .as_ref()
            .is_some_and(|released| released.created > 0)
        {
            batch.tally.trace_to(&mut source);
        }
        for (code, items) in applied.dropped {
            let reason = Reason::from_code(code);
            batch.tally.drop_items(self.column, reason, items);
        }
        if let Some(held) = applied.held {
            let part = batch.tally.split(held.len() as u64);
            self.hold(ticket, held, part);
        }
        let nothing_left = applied.kept_items == 0 && came > 0;
        passed.kept = (!nothing_left).then_some(batch);
        if let Some(released) = released {
            self.release(&released, source, &mut passed.emitted);
        }
    }

    fn count_call(&self, started: Instant) {
        let elapsed = started.elapsed();
        let generation = self.column.generation;
        self.post(|column| column.add_call(generation, elapsed));
    }

    fn count_output(&self, passed: &StageOutput) {
        let emitted: u64 = passed.emitted.iter().map(Batch::items).sum();
        self.count_left(passed.kept.as_ref().map_or(0, StageBatch::items) + emitted);
    }

    /// Counts items that left the stage.
    pub(crate) fn count_left(&self, items: u64) {
        if items > 0 {
            let generation = self.column.generation;
            self.post(|column| column.add_output(generation, items));
        }
    }

    /// Makes an entry in this stage's column of the ledger.
    fn post(&self, entry: impl FnOnce(&mut StageBooks)) {
        self.ledger.post_stage(self.column.stage, entry);
    }
}
