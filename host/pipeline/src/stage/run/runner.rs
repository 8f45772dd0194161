//! One generation of a stage on one shard: runs batches through the plugin, applies the fault
//! policy if the plugin fails, and keeps the held items within the stage's limits.

use std::sync::Arc;
use std::time::Duration;

use spandrel_wire::{HeldItems, Limits, Reads};
use tokio::time::{Instant, timeout};

use super::batch::StageBatch;
use super::failed_batches::ATTEMPTS;
use super::output::{BatchOwner, StageOutput};
use super::recording::ReplyRecording;
use super::schedule::Schedule;
use super::supervisor::PluginSupervisor;
use crate::batch::Batch;
use crate::completion::RecordGuards;
use crate::handover::{HeldHandover, StageHandover};
use crate::ledger::{Ledger, Reason, StageVisit, Tally};
use crate::plugin::{DrainReason, Fault, FaultKind, Generation, Instance, State, Ticket};
use crate::refused::{BatchRefusal, Refused};
use crate::stage::held::HeldTable;
use crate::stage::spec::{FaultPolicy, StageSpec, StateTransfer};

/// The retry hint to senders whose batch was refused because the plugin failed.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The time in which a plugin must let go under pressure: the senders of this shard wait meanwhile.
const PRESSURE_DEADLINE: Duration = Duration::from_millis(500);

/// One generation of a stage on one shard.
pub(crate) struct StageRunner {
    plugin: PluginSupervisor,
    schedule: Schedule,
}

impl StageRunner {
    /// Makes a runner of this generation for the stage that `spec` describes; `spec.hold` is this
    /// shard's share. No ticket is lower than `first_ticket`.
    pub(crate) fn new(
        spec: Arc<StageSpec>,
        generation: Arc<dyn Generation>,
        limits: Limits,
        ledger: Arc<Ledger>,
        instance: Box<dyn Instance>,
        first_ticket: Ticket,
    ) -> Self {
        let schedule = Schedule::new(generation.manifest().tick_interval);
        let plugin =
            PluginSupervisor::new(spec, generation, limits, ledger, instance, first_ticket);
        Self { plugin, schedule }
    }

    /// Returns the generation that it runs.
    pub(crate) fn generation(&self) -> &Arc<dyn Generation> {
        self.plugin.generation()
    }

    /// Sets another fault policy and other limits for the same generation.
    pub(crate) fn set_spec(&mut self, spec: Arc<StageSpec>) {
        self.plugin.set_spec(spec);
    }

    /// Starts to record the plugin's exact replies, or stops.
    pub(crate) fn record_replies(&mut self, recorded: bool) {
        self.plugin.record_replies(recorded);
    }

    /// Returns the replies since they were last taken.
    pub(crate) fn take_recording(&mut self) -> Option<ReplyRecording> {
        self.plugin.take_recording()
    }

    /// Returns true if nothing is held, and nothing will be.
    pub(crate) fn never_holds(&self) -> bool {
        !self.plugin.manifest().holds && !self.holds()
    }

    /// Returns true if something is held.
    pub(crate) fn holds(&self) -> bool {
        !self.plugin.held().is_empty()
    }

    /// Returns the trace ids of the held items.
    pub(crate) fn held_traces(&self) -> impl Iterator<Item = &[u8]> {
        self.plugin.held().trace_ids()
    }

    /// Returns the ticket that was given out last.
    pub(crate) fn last_ticket(&self) -> Ticket {
        self.plugin.last_ticket()
    }

    /// Returns the time when [`StageRunner::tick`] is due.
    pub(crate) fn next_tick(&self) -> Instant {
        self.schedule.wake_at()
    }

    /// Returns the parts that the plugin reads, if it takes a projection.
    pub(crate) fn reads(&self) -> Option<&Reads> {
        self.plugin.reads()
    }

    /// Runs one batch through the plugin.
    pub(crate) async fn process(
        &mut self,
        mut batch: StageBatch,
        owner: BatchOwner,
    ) -> StageOutput {
        let items = batch.items();
        let retry = batch.tally.try_again_at(&self.spec().name);
        self.plugin.counts().add_input(retry, items);
        let mut output = StageOutput::default();
        let failures = self.plugin.failures(&mut batch.input);
        if failures >= ATTEMPTS
            && owner == BatchOwner::Sender
            && self.spec().on_fault == FaultPolicy::Refuse
        {
            batch.tally.refuse();
            let refused = Refused::Quarantined {
                stage: self.spec().name.clone(),
                attempts: failures,
            };
            output.refused = Some(BatchRefusal::from(refused));
        } else if failures >= ATTEMPTS || !self.ready(&mut output.emitted).await {
            self.apply_policy(batch, owner, None, &mut output);
        } else {
            if let Some((batch, fault)) = self.plugin.call(batch, &mut output).await {
                self.apply_policy(batch, owner, Some(&fault), &mut output);
            }
            self.relieve(&mut output.emitted).await;
        }
        self.count_left(match retry {
            // The kept items were counted when the batch came through before.
            StageVisit::AfterPass => output.emitted_items(),
            StageVisit::First | StageVisit::AfterFailure => output.items(),
        });
        output
    }

    /// Applies the fault policy to a batch that the plugin could not judge. `fault` is given if the
    /// plugin failed on this batch.
    fn apply_policy(
        &mut self,
        batch: StageBatch,
        owner: BatchOwner,
        fault: Option<&Fault>,
        output: &mut StageOutput,
    ) {
        let policy = self.spec().on_fault;
        let counts = self.plugin.counts();
        match (policy, owner) {
            (FaultPolicy::Drop, _) => batch.tally.drop_all(counts.column(), Reason::Fault),
            (FaultPolicy::Refuse, BatchOwner::Sender) => {
                batch.tally.refuse();
                let refused = Refused::Fault {
                    stage: self.spec().name.clone(),
                    retry_after: RETRY_AFTER,
                };
                output.refused = Some(BatchRefusal {
                    refused,
                    fault: fault.cloned(),
                    partial: false,
                });
            }
            (FaultPolicy::Pass, _) | (FaultPolicy::Refuse, BatchOwner::Accepted) => {
                counts.add_bypassed(batch.items(), policy);
                output.kept = Some(batch);
            }
        }
    }

    /// Returns true if there is an instance to call. If the instance was not yet offered all that
    /// the instance before it held, the rest follows soon.
    async fn ready(&mut self, emitted: &mut Vec<Batch>) -> bool {
        let ready = self.plugin.ready(emitted).await;
        if ready && self.plugin.held().has_unowned() {
            self.schedule.wake_now();
        }
        ready
    }

    /// Lets time pass for the plugin, and checks the limits on held items.
    pub(crate) async fn tick(&mut self) -> Vec<Batch> {
        let mut emitted = Vec::new();
        let due = self.schedule.tick_is_due();
        let ready = (due || self.holds()) && self.ready(&mut emitted).await;
        if ready && due {
            self.plugin.tick(&mut emitted).await;
        }
        self.relieve(&mut emitted).await;
        self.expire(&mut emitted).await;
        self.plugin.forget_failures();
        self.count_batches(&emitted);
        let offers_more = ready && self.plugin.has_more_to_offer();
        self.schedule.looked(due, offers_more);
        emitted
    }

    /// Asks the plugin to let go of everything. Items that it still keeps go on, or are dropped
    /// under [`FaultPolicy::Drop`]. A plugin that is not done after `left` has failed.
    pub(crate) async fn drain(&mut self, reason: DrainReason, left: Duration) -> Vec<Batch> {
        let mut emitted = Vec::new();
        let asked = async {
            let mut ready = self.ready(&mut emitted).await;
            while ready && self.plugin.held().has_unowned() {
                ready = self.ready(&mut emitted).await;
            }
            if ready {
                self.plugin.drain(reason, left, &mut emitted).await;
            }
        };
        if timeout(left, asked).await.is_err() {
            self.run_late("its drain did not end in time", &mut emitted);
            self.plugin.give_up_offer(&mut emitted);
        }
        let kept = self.plugin.held_mut().evict(|held| !held.is_empty());
        if !kept.is_empty() {
            let items: u64 = kept.iter().map(Batch::items).sum();
            tracing::warn!(stage = %self.spec().name, items, "plugin kept items after its drain");
            self.plugin.let_go(kept, Reason::Undrained, &mut emitted);
        }
        self.plugin.count_held();
        self.count_batches(&emitted);
        emitted
    }

    /// Keeps held items within the stage's limits on items and bytes.
    async fn relieve(&mut self, emitted: &mut Vec<Batch>) {
        let hold = self.spec().hold;
        let over = |held: &HeldTable| held.items() > hold.items || held.bytes() > hold.bytes;
        if over(self.plugin.held()) {
            self.press(emitted).await;
            let evicted = self.plugin.held_mut().evict(over);
            self.let_go_over_limit(evicted, emitted);
        }
    }

    /// Keeps held items within the stage's limit on time.
    async fn expire(&mut self, emitted: &mut Vec<Batch>) {
        let limit = self.spec().hold.time;
        let oldest = self.plugin.held().oldest();
        if oldest.is_some_and(|since| since.elapsed() > limit) {
            self.press(emitted).await;
            if let Some(since) = Instant::now().checked_sub(limit) {
                let evicted = self.plugin.held_mut().evict_older(since);
                self.let_go_over_limit(evicted, emitted);
            }
        }
    }

    /// Asks the plugin to let go of all that it can.
    async fn press(&mut self, emitted: &mut Vec<Batch>) {
        if !self.plugin.is_blocked() {
            let asked = self
                .plugin
                .drain(DrainReason::Pressure, PRESSURE_DEADLINE, emitted);
            asked.await;
        }
    }

    fn let_go_over_limit(&mut self, batches: Vec<Batch>, emitted: &mut Vec<Batch>) {
        if !batches.is_empty() {
            let items: u64 = batches.iter().map(Batch::items).sum();
            tracing::warn!(stage = %self.spec().name, items, "held items were over the stage's limits");
            self.plugin.let_go(batches, Reason::HeldLimit, emitted);
        }
        self.plugin.count_held();
    }

    /// Ends the calls of the plugin, without asking it to let go of items that the journal has. The
    /// returned batches go on through the stages behind: items that no record has, and items that
    /// the plugin makes when it is asked to drain, which happens only if it has no state to carry
    /// and cannot hold. No batch may come after this.
    pub(crate) async fn stop(&mut self, left: Duration) -> (Vec<Batch>, Option<State>) {
        let mut emitted = Vec::new();
        let loose = self.plugin.held_mut().evict_unrecorded();
        self.plugin.let_go(loose, Reason::Undrained, &mut emitted);
        let snapshot = timeout(left, self.plugin.snapshot(&mut emitted)).await;
        let state = match snapshot {
            Ok(state) => state.unwrap_or_default(),
            Err(_) => {
                self.run_late("its snapshot did not end in time", &mut emitted);
                None
            }
        };
        if state.is_none() && self.never_holds() {
            let reason = DrainReason::Shutdown;
            let asked = timeout(left, self.plugin.drain(reason, left, &mut emitted)).await;
            if asked.is_err() {
                self.run_late("its drain did not end in time", &mut emitted);
            }
        }
        self.plugin.count_held();
        self.count_batches(&emitted);
        (emitted, state)
    }

    /// Leaves the held items and this state for the next process.
    pub(crate) fn leave_behind(&mut self, state: Option<State>) -> (StageHandover, Vec<Tally>) {
        self.plugin.leave_behind(state)
    }

    /// Takes up the items and state that the stage left when the last process stopped; no batch may
    /// have come before. Held items that the instance does not know of after that are offered to it
    /// as batches.
    pub(crate) async fn take_up(
        &mut self,
        left: StageHandover,
        held: Vec<(HeldHandover, HeldItems)>,
        guards: &mut RecordGuards<'_>,
    ) -> StateTransfer {
        let carried = self.plugin.take_up(left, held, guards).await;
        self.wake_to_offer();
        carried
    }

    /// Gives a fresh instance a state to begin with; if it refuses the state, it begins without.
    /// Names of items that were held up to this ticket are ignored.
    pub(crate) async fn begin_with(
        &mut self,
        state: State,
        up_to: Ticket,
        emitted: &mut Vec<Batch>,
    ) {
        let held = self.plugin.held_mut();
        held.ignore_releases_below(up_to.saturating_add(1));
        let carried = self.plugin.restore(state, emitted).await;
        tracing::debug!(stage = %self.spec().name, ?carried, "candidate begins");
    }

    /// Returns a copy of the instance's state for another instance; the instance goes on.
    pub(crate) async fn copy_state(&mut self, emitted: &mut Vec<Batch>) -> Option<State> {
        self.plugin.copy_state(emitted).await
    }

    /// Takes the place of another runner: keeps its schedule, and takes its part out of the books.
    pub(in crate::stage) fn take_place_of(&mut self, other: Self) {
        self.schedule.inherit(&other.schedule);
        self.wake_to_offer();
        other.end();
    }

    fn wake_to_offer(&mut self) {
        if self.plugin.held().has_unowned() {
            self.schedule.wake_now();
        }
    }

    /// Returns the plugin, for what concerns its state.
    pub(in crate::stage) fn plugin(&mut self) -> &mut PluginSupervisor {
        &mut self.plugin
    }

    /// Counts items that left the stage.
    pub(crate) fn count_left(&self, items: u64) {
        self.plugin.counts().add_output(items);
    }

    fn count_batches(&self, batches: &[Batch]) {
        self.count_left(batches.iter().map(Batch::items).sum());
    }

    /// Records that a call did not end in time.
    fn run_late(&mut self, message: &str, emitted: &mut Vec<Batch>) {
        let fault = Fault::new(FaultKind::Deadline, message);
        self.plugin.fail(&fault, None, emitted);
    }

    fn spec(&self) -> &StageSpec {
        self.plugin.spec()
    }

    /// Ends a runner that holds nothing and has no successor.
    pub(crate) fn end(self) {
        self.plugin.end();
    }
}
