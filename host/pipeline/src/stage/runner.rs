//! One stage on one shard: calls the plugin's instance, checks what it answers, applies it to the
//! batch and to what is held, and does what the fault policy says when it fails.

mod judgement;
mod recovery;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use spandrel_wire::{Held, Kept, Limits, Spliced};
use tokio::time::Instant;

use self::judgement::{Judgement, Released};
use self::recovery::FaultLog;
use super::breaker::{Breaker, Gate};
use super::held::HeldTable;
use super::quarantine::{ATTEMPTS, Quarantine};
use super::{DrainReason, Fault, FaultKind, FaultPolicy, Instance, StageSpec, Ticket};
use crate::batch::Batch;
use crate::ledger::{Account, Ledger, Reason, Tally};
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
    pub kept: Option<Batch>,
    /// Released, created or recovered beside it: accepted before.
    pub emitted: Vec<Batch>,
    /// Why the batch was refused.
    pub refused: Option<Refused>,
}

/// Between two looks at what is held and at a plugin that waits to be made anew, when the plugin
/// itself asks for no ticks.
const HOUSEKEEPING: Duration = Duration::from_secs(1);
/// How long a plugin may take to let go under pressure: the senders of this shard wait meanwhile.
const PRESSURE_DEADLINE: Duration = Duration::from_millis(500);
/// The hint to senders whose batch was refused because the plugin failed.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// See the module.
pub(crate) struct StageRunner {
    index: usize,
    spec: Arc<StageSpec>,
    limits: Limits,
    ledger: Arc<Ledger>,
    instance: Option<Box<dyn Instance>>,
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

    /// Runs one batch through the plugin.
    pub(crate) async fn process(&mut self, batch: Batch, origin: Origin) -> Passed {
        let items = batch.items();
        self.ledger
            .post_stage(self.index, |column| column.input += items);
        let mut passed = Passed::default();
        let failures = self.quarantine.failures(&batch.bytes);
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
            let ticket = self.ticket();
            match self.judge(ticket, &batch.bytes, items).await {
                Ok(judgement) => {
                    self.worked(&batch.bytes);
                    self.apply(ticket, batch, judgement, &mut passed);
                }
                Err(fault) => {
                    self.failed(&fault, Some(&batch.bytes), &mut passed.emitted);
                    self.apply_policy(batch, origin, &mut passed);
                }
            }
            self.relieve(&mut passed.emitted).await;
        }
        self.count_output(&passed);
        passed
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

    /// One call with one batch, and everything in its answer checked; nothing is applied yet.
    async fn judge(
        &mut self,
        ticket: Ticket,
        bytes: &Bytes,
        items: u64,
    ) -> Result<Judgement, Fault> {
        let Some(instance) = &mut self.instance else {
            return Err(Fault::new(FaultKind::Trap, "no instance"));
        };
        let started = Instant::now();
        let reply = instance.process(ticket, bytes).await;
        self.count_call(started);
        let reply = reply?;
        Judgement::new(
            &self.held,
            self.spec.generation.manifest(),
            &self.limits,
            bytes,
            items,
            reply,
        )
        .map_err(|message| Fault::new(FaultKind::BadReply, message))
    }

    /// Applies a checked answer. Cannot fail.
    fn apply(&mut self, ticket: Ticket, batch: Batch, judgement: Judgement, passed: &mut Passed) {
        let Judgement {
            spliced:
                Spliced {
                    kept,
                    held,
                    dropped,
                    ..
                },
            released,
        } = judgement;
        let Batch { bytes, mut tally } = batch;
        for (code, items) in dropped {
            tally.drop_items(self.index, Reason::from_code(code), items);
        }
        if let Some(held) = held {
            let part = tally.split(held.len() as u64);
            self.hold(ticket, held, part);
        }
        passed.kept = match kept {
            Kept::All => Some(Batch { bytes, tally }),
            Kept::Some(bytes) => Some(Batch {
                bytes: Bytes::from(bytes),
                tally,
            }),
            Kept::Nothing => None,
        };
        if let Some(released) = released {
            self.release(&released, &mut passed.emitted);
        }
    }

    fn hold(&mut self, ticket: Ticket, held: Held, mut tally: Tally) {
        tally.transfer(Account::Held(self.index));
        self.held.insert(ticket, held, tally);
        self.count_held();
    }

    fn release(&mut self, released: &Released, emitted: &mut Vec<Batch>) {
        emitted.extend(
            self.held
                .settle(self.index, &released.settlement, &released.emission),
        );
        if released.created > 0 {
            let tally = self.ledger.create(released.created);
            emitted.push(Batch {
                bytes: Bytes::copy_from_slice(&released.emission.created),
                tally,
            });
        }
        self.count_held();
    }

    /// Checks and applies what came of a tick or a drain.
    fn settle(&mut self, result: Result<super::Emission, Fault>, emitted: &mut Vec<Batch>) {
        let reasons = self.spec.generation.manifest().drop_reasons.len();
        let checked = result.and_then(|emission| {
            Released::new(&self.held, reasons, &self.limits, emission)
                .map_err(|message| Fault::new(FaultKind::BadReply, message))
        });
        match checked {
            Ok(released) => self.release(&released, emitted),
            Err(fault) => self.failed(&fault, None, emitted),
        }
    }

    async fn ask_to_drain(
        &mut self,
        reason: DrainReason,
        deadline: Duration,
        emitted: &mut Vec<Batch>,
    ) {
        let Some(instance) = &mut self.instance else {
            return;
        };
        let started = Instant::now();
        let result = instance.drain(reason, deadline).await;
        self.count_call(started);
        self.settle(result, emitted);
    }

    /// Keeps what is held within the stage's limits on items and bytes.
    async fn relieve(&mut self, emitted: &mut Vec<Batch>) {
        let hold = self.spec.hold;
        let over = |held: &HeldTable| held.items() > hold.items || held.bytes() > hold.bytes;
        if !over(&self.held) {
            return;
        }
        self.press(emitted).await;
        let evicted = self.held.evict(over);
        self.evicted(evicted, emitted);
    }

    /// Keeps what is held within the stage's limit on time.
    async fn expire(&mut self, emitted: &mut Vec<Batch>) {
        let limit = self.spec.hold.time;
        let is_over = |held: &HeldTable| held.oldest().is_some_and(|since| since.elapsed() > limit);
        if !is_over(&self.held) {
            return;
        }
        self.press(emitted).await;
        if let Some(since) = Instant::now().checked_sub(limit) {
            let evicted = self.held.evict_older(since);
            self.evicted(evicted, emitted);
        }
    }

    /// Asks the plugin to let go of what it can.
    async fn press(&mut self, emitted: &mut Vec<Batch>) {
        if self.breaker.gate() != Gate::Open {
            self.ask_to_drain(DrainReason::Pressure, PRESSURE_DEADLINE, emitted)
                .await;
        }
    }

    fn evicted(&mut self, batches: Vec<Batch>, emitted: &mut Vec<Batch>) {
        if !batches.is_empty() {
            let items: u64 = batches.iter().map(Batch::items).sum();
            tracing::warn!(stage = %self.spec.name, items, "held items were over the stage's limits");
            self.let_go(batches, Reason::HeldLimit, emitted);
        }
        self.count_held();
    }

    fn count_call(&self, started: Instant) {
        let elapsed = started.elapsed();
        self.ledger.post_stage(self.index, |column| {
            column.calls += 1;
            column.call_time += elapsed;
        });
    }

    fn count_held(&mut self) {
        let bytes = self.held.bytes() as u64;
        let before = std::mem::replace(&mut self.held.booked_bytes, bytes);
        self.ledger.post_stage(self.index, |column| {
            column.held_bytes = (column.held_bytes + bytes).saturating_sub(before);
        });
    }

    fn count_output(&self, passed: &Passed) {
        let items: u64 = passed
            .kept
            .iter()
            .chain(&passed.emitted)
            .map(Batch::items)
            .sum();
        if items > 0 {
            self.ledger
                .post_stage(self.index, |column| column.output += items);
        }
    }
}
