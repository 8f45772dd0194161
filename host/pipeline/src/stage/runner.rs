//! One stage on one shard: calls the plugin's instance, checks what it answers, applies it to the
//! batch and to what is held, and does what the fault policy says when it fails.

mod holding;
mod judgement;
mod recovery;

use std::sync::Arc;
use std::time::Duration;

use spandrel_wire::{Limits, Reads};
use tokio::time::Instant;

use self::judgement::Judgement;
use self::recovery::FaultLog;
use super::breaker::{Breaker, Gate};
use super::held::HeldTable;
use super::learned::Learned;
use super::quarantine::{ATTEMPTS, Quarantine};
use super::transit::Transit;
use super::{DrainReason, Fault, FaultKind, FaultPolicy, Input, Instance, StageSpec, Ticket};
use crate::batch::Batch;
use crate::ledger::{Ledger, Reason};
use crate::refused::Refused;

/// Who owns a batch's items while it is in the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A sender waits for the answer: the batch can still be refused.
    Sender,
    /// It was accepted earlier, or made by a plugin.
    Accepted,
}

/// What came out of a stage.
#[derive(Debug, Default)]
pub(crate) struct Passed {
    /// What is left of the batch that went in.
    pub kept: Option<Transit>,
    /// Released, created or recovered beside it: accepted before.
    pub emitted: Vec<Batch>,
    /// Why the batch was refused.
    pub refused: Option<Refused>,
}

/// Between two looks at what is held and at a plugin that waits to be made anew, when the plugin
/// itself asks for no ticks.
const HOUSEKEEPING: Duration = Duration::from_secs(1);
/// The hint to senders whose batch was refused because the plugin failed.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// See the module.
pub(crate) struct StageRunner {
    index: usize,
    spec: Arc<StageSpec>,
    limits: Limits,
    ledger: Arc<Ledger>,
    instance: Option<Box<dyn Instance>>,
    /// What that instance reads.
    learned: Learned,
    rebuild_at: Instant,
    last_ticket: Ticket,
    held: HeldTable,
    /// What is held was held by an instance that is gone.
    orphaned: bool,
    breaker: Breaker,
    quarantine: Quarantine,
    fault_log: FaultLog,
    /// When to look after this stage again.
    wake_at: Instant,
    /// When the plugin's own tick is due, if it asked for ticks.
    tick_at: Option<Instant>,
}

impl StageRunner {
    /// `spec.hold` is this shard's share.
    pub(crate) fn new(
        index: usize,
        spec: Arc<StageSpec>,
        limits: Limits,
        ledger: Arc<Ledger>,
        instance: Box<dyn Instance>,
    ) -> Self {
        let now = Instant::now();
        let breaker = Breaker::new(spec.breaker.clone());
        let interval = spec.generation.manifest().tick_interval;
        Self {
            index,
            spec,
            limits,
            ledger,
            instance: Some(instance),
            learned: Learned::default(),
            rebuild_at: now,
            last_ticket: 0,
            held: HeldTable::default(),
            orphaned: false,
            breaker,
            quarantine: Quarantine::default(),
            fault_log: FaultLog::default(),
            wake_at: now + interval.map_or(HOUSEKEEPING, |interval| interval.min(HOUSEKEEPING)),
            tick_at: interval.map(|interval| now + interval),
        }
    }

    /// When [`StageRunner::tick`] is due.
    pub(crate) fn next_tick(&self) -> Instant {
        self.wake_at
    }

    /// What the plugin reads, while it takes a projection. One that holds does not, because what is
    /// held must be there in whole; neither does one that has failed lately, because its failures
    /// are known by the bytes.
    pub(crate) fn reads(&self) -> Option<&Reads> {
        let takes = !self.spec.generation.manifest().holds && self.quarantine.is_empty();
        self.learned.settled().filter(|_| takes)
    }

    /// Runs one batch through the plugin.
    pub(crate) async fn process(&mut self, mut batch: Transit, origin: Origin) -> Passed {
        let items = batch.items();
        self.ledger
            .post_stage(self.index, |column| column.input += items);
        let mut passed = Passed::default();
        let failures = self.failures(&mut batch.input);
        if failures >= ATTEMPTS
            && origin == Origin::Sender
            && self.spec.on_fault == FaultPolicy::Refuse
        {
            batch.tally.refuse();
            let stage = self.spec.name.clone();
            passed.refused = Some(Refused::Quarantined {
                stage,
                attempts: failures,
            });
        } else if failures >= ATTEMPTS || !self.ready(&mut passed.emitted).await {
            self.apply_policy(batch, origin, &mut passed);
        } else {
            self.call(batch, origin, &mut passed).await;
            self.relieve(&mut passed.emitted).await;
        }
        self.count_output(&passed);
        passed
    }

    /// How often the plugin failed on this batch.
    fn failures(&mut self, input: &mut Input) -> u32 {
        if self.quarantine.is_empty() {
            return 0;
        }
        input.make_whole();
        self.quarantine.failures(input.bytes())
    }

    /// One call, and what comes of it.
    async fn call(&mut self, mut batch: Transit, origin: Origin, passed: &mut Passed) {
        let has_reads = |has| self.reads().is_some_and(|reads| Reads::covers(has, reads));
        if !batch.input.reads().is_some_and(has_reads) {
            batch.input.make_whole();
        }
        let ticket = self.ticket();
        // Failures are forgotten by the bytes that came; while there are none, nobody asks for these.
        let came = (!self.quarantine.is_empty()).then(|| batch.input.whole());
        let items = batch.items();
        match self.judge(ticket, &mut batch.input, items).await {
            Ok(judgement) => {
                self.worked(came.as_deref().unwrap_or_default());
                self.apply(ticket, batch, judgement, passed);
            }
            Err(fault) => {
                batch.input.make_whole();
                self.failed(&fault, Some(batch.input.bytes()), &mut passed.emitted);
                self.apply_policy(batch, origin, passed);
            }
        }
    }

    /// Lets time pass for the plugin, and looks after what is held.
    pub(crate) async fn tick(&mut self) -> Vec<Batch> {
        let mut passed = Passed::default();
        let interval = self.spec.generation.manifest().tick_interval;
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
        self.count_output(&passed);
        // From the end of the call: a tick that takes longer than its interval leaves time for
        // batches all the same.
        let now = Instant::now();
        if due {
            self.tick_at = interval.map(|interval| now + interval);
        }
        let soon = now + HOUSEKEEPING;
        self.wake_at = self.tick_at.map_or(soon, |tick| tick.min(soon));
        passed.emitted
    }

    /// Asks the plugin to let go of everything, for the last time; what it keeps all the same goes
    /// on, or is dropped under [`FaultPolicy::Drop`]. A plugin that is not done after `left` has
    /// failed.
    pub(crate) async fn drain(&mut self, left: Duration) -> Vec<Batch> {
        let mut passed = Passed::default();
        let asked = async {
            if self.ready(&mut passed.emitted).await {
                self.ask_to_drain(DrainReason::Shutdown, left, &mut passed.emitted)
                    .await;
            }
        };
        if tokio::time::timeout(left, asked).await.is_err() {
            let fault = Fault::new(FaultKind::Deadline, "its drain did not end in time");
            self.failed(&fault, None, &mut passed.emitted);
        }
        let kept = self.held.evict(|held| !held.is_empty());
        if !kept.is_empty() {
            let items: u64 = kept.iter().map(Batch::items).sum();
            tracing::warn!(stage = %self.spec.name, items, "plugin kept items after its drain");
            self.let_go(kept, Reason::Undrained, &mut passed.emitted);
        }
        self.count_held();
        self.count_output(&passed);
        passed.emitted
    }

    fn ticket(&mut self) -> Ticket {
        self.last_ticket += 1;
        self.last_ticket
    }

    /// One call with one batch. Its answer is checked in whole, then the batch is changed as it
    /// says; a failed call changes nothing.
    async fn judge(
        &mut self,
        ticket: Ticket,
        input: &mut Input,
        items: u64,
    ) -> Result<Judgement, Fault> {
        let Some(instance) = &mut self.instance else {
            return Err(Fault::new(FaultKind::Trap, "no instance"));
        };
        let started = Instant::now();
        let reply = instance.process(ticket, input).await;
        self.count_call(started);
        let mut reply = reply?;
        self.learned.add(reply.reads.take());
        Judgement::new(
            &self.held,
            self.spec.generation.manifest(),
            &self.limits,
            input,
            items,
            reply,
        )
        .map_err(|message| Fault::new(FaultKind::BadReply, message))
    }

    /// Books a checked answer. Cannot fail.
    fn apply(
        &mut self,
        ticket: Ticket,
        mut batch: Transit,
        judgement: Judgement,
        passed: &mut Passed,
    ) {
        let Judgement { applied, released } = judgement;
        let came = batch.items();
        for (code, items) in applied.dropped {
            let reason = Reason::from_code(code);
            batch.tally.drop_items(self.index, reason, items);
        }
        if let Some(held) = applied.held {
            let part = batch.tally.split(held.len() as u64);
            self.hold(ticket, held, part);
        }
        let nothing_left = applied.kept_items == 0 && came > 0;
        passed.kept = (!nothing_left).then_some(batch);
        if let Some(released) = released {
            self.release(&released, &mut passed.emitted);
        }
    }

    fn count_call(&self, started: Instant) {
        let elapsed = started.elapsed();
        self.ledger.post_stage(self.index, |column| {
            column.calls += 1;
            column.call_time += elapsed;
        });
    }

    fn count_output(&self, passed: &Passed) {
        let emitted: u64 = passed.emitted.iter().map(Batch::items).sum();
        let items = passed.kept.as_ref().map_or(0, Transit::items) + emitted;
        if items > 0 {
            self.ledger
                .post_stage(self.index, |column| column.output += items);
        }
    }
}
