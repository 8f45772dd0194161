//! A plugin on one shard over the faults that it may have. After a fault it makes another instance,
//! and offers it the items that the lost one held.

use std::sync::Arc;
use std::time::Duration;

use spandrel_wire::{HeldItems, Limits, Reads};

use super::batch::StageBatch;
use super::caller::Caller;
use super::counts::StageCounts;
use super::health::PluginHealth;
use super::output::StageOutput;
use super::recording::ReplyRecording;
use crate::batch::Batch;
use crate::completion::RecordGuards;
use crate::handover::{HeldHandover, StageHandover};
use crate::ledger::{Ledger, Reason, Tally};
use crate::plugin::{DrainReason, Fault, Generation, Input, Instance, Manifest, State, Ticket};
use crate::stage::held::HeldTable;
use crate::stage::spec::{FaultPolicy, StageSpec, StateTransfer};

/// A plugin on one shard, with everything that a fault of it touches.
pub(crate) struct PluginSupervisor {
    spec: Arc<StageSpec>,
    caller: Caller,
    health: PluginHealth,
}

impl PluginSupervisor {
    /// Makes a plugin of this generation for the stage that `spec` describes. No ticket is lower
    /// than `first_ticket`.
    pub(super) fn new(
        spec: Arc<StageSpec>,
        generation: Arc<dyn Generation>,
        limits: Limits,
        ledger: Arc<Ledger>,
        instance: Box<dyn Instance>,
        first_ticket: Ticket,
    ) -> Self {
        let name = &spec.name;
        Self {
            caller: Caller::new(name, generation, limits, ledger, instance, first_ticket),
            health: PluginHealth::new(spec.breaker.clone()),
            spec,
        }
    }

    /// Sets another fault policy and other limits for the same generation.
    pub(super) fn set_spec(&mut self, spec: Arc<StageSpec>) {
        if spec.breaker != self.spec.breaker {
            self.health.configure(spec.breaker.clone());
        }
        self.spec = spec;
    }

    pub(super) fn spec(&self) -> &StageSpec {
        &self.spec
    }

    pub(in crate::stage) fn generation(&self) -> &Arc<dyn Generation> {
        self.caller.instance().generation()
    }

    pub(super) fn manifest(&self) -> &Manifest {
        self.caller.instance().manifest()
    }

    pub(super) fn counts(&self) -> &StageCounts {
        self.caller.counts()
    }

    /// Returns the items that the plugin holds.
    pub(in crate::stage) fn held(&self) -> &HeldTable {
        self.caller.held()
    }

    pub(in crate::stage) fn held_mut(&mut self) -> &mut HeldTable {
        self.caller.held_mut()
    }

    /// Returns the ticket that was given out last.
    pub(in crate::stage) fn last_ticket(&self) -> Ticket {
        self.caller.last_ticket()
    }

    /// Gives out the next ticket.
    pub(super) fn next_ticket(&mut self) -> Ticket {
        self.caller.next_ticket()
    }

    /// Makes all tickets from now on higher than this one.
    pub(in crate::stage) fn skip_tickets(&mut self, last: Ticket) {
        self.caller.skip_tickets(last);
    }

    /// Returns true if there is an instance to call.
    pub(in crate::stage) fn is_there(&self) -> bool {
        self.caller.instance().is_there()
    }

    /// Returns the parts that the plugin reads, if it takes a projection. A plugin that holds does
    /// not, because held items must be there in whole; neither does one that has failed lately,
    /// because failures are known by the bytes.
    pub(super) fn reads(&self) -> Option<&Reads> {
        let takes = !self.manifest().holds && !self.health.remembers_batches();
        self.caller.instance().reads().filter(|_| takes)
    }

    /// Starts to record the plugin's exact replies, or stops.
    pub(super) fn record_replies(&mut self, recorded: bool) {
        self.caller.record_replies(recorded);
    }

    /// Returns the replies since they were last taken.
    pub(super) fn take_recording(&mut self) -> Option<ReplyRecording> {
        self.caller.take_recording()
    }

    /// Returns true if the plugin must not be called, because its breaker is open.
    pub(super) fn is_blocked(&self) -> bool {
        self.health.is_blocked()
    }

    /// Returns how often the plugin failed on this batch.
    pub(super) fn failures(&mut self, input: &mut Input) -> u32 {
        self.health.failures(input)
    }

    /// Returns true if there are items that the instance was not yet offered.
    pub(super) fn has_more_to_offer(&self) -> bool {
        self.is_there() && self.held().has_unowned()
    }

    /// Returns true if there is an instance to call. Makes one if that is due, and offers it the
    /// items that the lost one held.
    pub(super) async fn ready(&mut self, emitted: &mut Vec<Batch>) -> bool {
        if self.health.is_blocked() {
            return false;
        }
        if !self.is_there() {
            if !self.health.may_rebuild() {
                return false;
            }
            self.renew().await;
        }
        if self.has_more_to_offer() {
            self.offer_again(emitted).await;
        }
        self.is_there()
    }

    /// Makes an instance if there is none.
    pub(in crate::stage) async fn renew(&mut self) {
        if self.is_there() {
            return;
        }
        match self.caller.instance_mut().start().await {
            Ok(()) => self.counts().add_restart(),
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::error!(stage = %self.spec.name, error, "plugin could not be restarted");
                self.health.trip(self.caller.counts_mut());
            }
        }
    }

    /// Offers the items that the instance before this one held, as batches, once: at most one
    /// request now, so that the batch in hand need not wait for all of them. If this instance
    /// fails, the rest waits for the next.
    async fn offer_again(&mut self, emitted: &mut Vec<Batch>) {
        tracing::info!(
            stage = %self.spec.name, items = self.held().items(),
            "offering held items to the new instance"
        );
        self.held_mut().begin_offer();
        while self.is_there()
            && let Some(batch) = self.held().offered()
        {
            let (input, items) = (Input::from(batch.bytes.clone()), batch.items());
            self.offer_one(input, items, emitted).await;
        }
        self.give_up_offer(emitted);
        self.count_held();
    }

    /// Offers the first batch of the offer.
    async fn offer_one(&mut self, mut input: Input, items: u64, emitted: &mut Vec<Batch>) {
        let ticket = self.next_ticket();
        let judged = self.caller.judge(ticket, &mut input, items).await;
        let Some((batch, history)) = self.held_mut().take_offered() else {
            return;
        };
        match judged {
            Ok(reply) => {
                let mut output = StageOutput::default();
                let tally = batch.tally;
                let batch = StageBatch { input, tally };
                self.caller.apply(ticket, batch, reply, &mut output);
                self.held_mut().set_second_owner(ticket, history);
                emitted.extend(output.kept.map(StageBatch::into_batch));
                emitted.append(&mut output.emitted);
            }
            Err(fault) => {
                self.fail(&fault, None, emitted);
                self.let_go(vec![batch], Reason::Fault, emitted);
            }
        }
    }

    /// Applies the fault policy to the batches of the offer that were not judged.
    pub(super) fn give_up_offer(&mut self, emitted: &mut Vec<Batch>) {
        let left = self.held_mut().end_offer();
        self.let_go(left, Reason::Fault, emitted);
    }

    /// Calls the plugin with a batch that came into the stage. Returns the fault if the plugin
    /// failed, and the whole batch as it was.
    pub(super) async fn call(
        &mut self,
        mut batch: StageBatch,
        output: &mut StageOutput,
    ) -> Option<(StageBatch, Fault)> {
        let has_reads = |has| self.reads().is_some_and(|reads| Reads::covers(has, reads));
        if !batch.input.reads().is_some_and(has_reads) {
            batch.input.make_whole();
        }
        let ticket = self.next_ticket();
        // Failures are forgotten by the bytes that came; while there are none, nobody asks for
        // these bytes.
        let remembers = self.health.remembers_batches();
        let came = remembers.then(|| batch.input.whole());
        let items = batch.items();
        match self.caller.judge(ticket, &mut batch.input, items).await {
            Ok(mut reply) => {
                self.caller.record(ticket, &mut reply);
                let came = came.as_deref().unwrap_or_default();
                self.health.succeed(came, self.caller.counts_mut());
                self.caller.apply(ticket, batch, reply, output);
                None
            }
            Err(fault) => {
                batch.input.make_whole();
                let bytes = Some(batch.input.bytes());
                self.fail(&fault, bytes, &mut output.emitted);
                Some((batch, fault))
            }
        }
    }

    /// Lets time pass for the plugin.
    pub(super) async fn tick(&mut self, emitted: &mut Vec<Batch>) {
        if let Err(fault) = self.caller.tick(emitted).await {
            self.fail(&fault, None, emitted);
        }
    }

    /// Asks the plugin to let go of all that it can.
    pub(super) async fn drain(
        &mut self,
        reason: DrainReason,
        deadline: Duration,
        emitted: &mut Vec<Batch>,
    ) {
        if let Err(fault) = self.caller.drain(reason, deadline, emitted).await {
            self.fail(&fault, None, emitted);
        }
    }

    /// Records that a call failed: counts the fault, and drops the instance. `bytes` is the batch
    /// that is to blame, if there is one.
    pub(super) fn fail(&mut self, fault: &Fault, bytes: Option<&[u8]>, emitted: &mut Vec<Batch>) {
        self.health.fail(fault, bytes, self.caller.counts_mut());
        self.lose_instance(emitted);
    }

    /// Forgets failures of long ago, and logs the end of a bypass.
    pub(super) fn forget_failures(&mut self) {
        self.health.forget(self.caller.counts_mut());
        self.counts().end_bypass();
    }

    /// Drops the instance. Its held items stay for its successor; those that were already offered
    /// to a successor once are let go.
    pub(in crate::stage) fn lose_instance(&mut self, emitted: &mut Vec<Batch>) {
        self.caller.instance_mut().end();
        let offered = self.held_mut().lose_owner();
        self.let_go(offered, Reason::Fault, emitted);
        self.count_held();
    }

    /// Applies the fault policy to items that are no longer held.
    pub(in crate::stage) fn let_go(
        &mut self,
        batches: Vec<Batch>,
        reason: Reason,
        emitted: &mut Vec<Batch>,
    ) {
        let (counts, policy) = (self.caller.counts(), self.spec.on_fault);
        for batch in batches {
            match policy {
                FaultPolicy::Drop => batch.tally.drop_all(counts.column(), reason),
                FaultPolicy::Pass | FaultPolicy::Refuse => {
                    counts.add_bypassed(batch.items(), policy);
                    emitted.push(batch);
                }
            }
        }
    }

    /// Returns the plugin's state; a plugin without an instance has none.
    pub(in crate::stage) async fn snapshot(
        &mut self,
        emitted: &mut Vec<Batch>,
    ) -> Result<Option<State>, Fault> {
        let state = self.caller.instance_mut().snapshot().await;
        if let Err(fault) = &state {
            self.fail(fault, None, emitted);
        }
        state
    }

    /// Returns a copy of the plugin's state for another instance. A failure here did not affect any
    /// batch, so it does not count against the generation.
    pub(in crate::stage) async fn copy_state(&mut self, emitted: &mut Vec<Batch>) -> Option<State> {
        match self.caller.instance_mut().copy_state().await {
            Ok(state) => state,
            Err(fault) => {
                tracing::warn!(
                    stage = %self.spec.name, fault = fault.kind.label(), error = %fault.message,
                    "plugin failed when it was asked for a copy of its state"
                );
                self.lose_instance(emitted);
                None
            }
        }
    }

    /// Gives the plugin a state, in addition to the one that it has.
    pub(in crate::stage) async fn restore(
        &mut self,
        state: State,
        emitted: &mut Vec<Batch>,
    ) -> StateTransfer {
        match self.caller.instance_mut().restore(state).await {
            None => StateTransfer::Failed("the plugin had failed before".to_owned()),
            Some(Ok(Ok(()))) => StateTransfer::Done,
            Some(Ok(Err(refusal))) => StateTransfer::Failed(refusal),
            Some(Err(fault)) => {
                self.fail(&fault, None, emitted);
                StateTransfer::Failed(format!("the plugin failed in `restore`: {fault}"))
            }
        }
    }

    /// Leaves the held items and this state for the next process.
    pub(super) fn leave_behind(&mut self, state: Option<State>) -> (StageHandover, Vec<Tally>) {
        let (held, tallies) = self.held_mut().leave();
        self.count_held();
        let left = StageHandover {
            name: self.spec.name.clone(),
            state,
            last_ticket: self.last_ticket(),
            evicted_below: self.held().evicted_below(),
            held,
        };
        (left, tallies)
    }

    /// Takes up the items and state that the stage left when the last process stopped.
    pub(super) async fn take_up(
        &mut self,
        left: StageHandover,
        held: Vec<(HeldHandover, HeldItems)>,
        guards: &mut RecordGuards<'_>,
    ) -> StateTransfer {
        // Nothing is held yet, so nothing can be let go.
        let mut nothing = Vec::new();
        let carried = match left.state {
            Some(state) => self.restore(state, &mut nothing).await,
            None => StateTransfer::NoState,
        };
        for (left, held) in held {
            let guard = guards.of(&left.records);
            let tally = self.counts().hold_again(&left, guard);
            self.held_mut().put_back(&left, held, tally);
        }
        self.held_mut().ignore_releases_below(left.evicted_below);
        self.skip_tickets(left.last_ticket);
        if carried != StateTransfer::Done {
            self.held_mut().set_known(|_| false);
        }
        self.count_held();
        carried
    }

    /// Books how many bytes are held.
    pub(in crate::stage) fn count_held(&mut self) {
        self.caller.count_held();
    }

    /// Ends a plugin that holds nothing any more.
    pub(super) fn end(self) {
        self.caller.end();
    }
}
