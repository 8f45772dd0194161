//! Held items of the stage: taken from a batch, let go by the plugin, or by the host at a limit.

use std::time::Duration;

use bytes::Bytes;
use spandrel_wire::HeldItems;
use tokio::time::Instant;

use super::{Gate, StageOutput, StageRunner};
use crate::batch::Batch;
use crate::ledger::{Account, Reason, Source, Tally};
use crate::plugin::{DrainReason, Emission, Fault, FaultKind, Ticket};
use crate::stage::held::HeldTable;
use crate::stage::run::reply::CheckedEmission;

/// The time in which a plugin must let go under pressure: the senders of this shard wait meanwhile.
const PRESSURE_DEADLINE: Duration = Duration::from_millis(500);

impl StageRunner {
    /// Asks the plugin to let go of everything. Items that it still keeps go on, or are dropped
    /// under [`FaultPolicy::Drop`](crate::stage::FaultPolicy::Drop). A plugin that is not done
    /// after `left` has failed.
    pub(crate) async fn drain(&mut self, reason: DrainReason, left: Duration) -> Vec<Batch> {
        let mut passed = StageOutput::default();
        let asked = async {
            let mut ready = self.ready(&mut passed.emitted).await;
            while ready && self.orphaned {
                ready = self.ready(&mut passed.emitted).await;
            }
            if ready {
                self.ask_to_drain(reason, left, &mut passed.emitted).await;
            }
        };
        if tokio::time::timeout(left, asked).await.is_err() {
            let fault = Fault::new(FaultKind::Deadline, "its drain did not end in time");
            self.failed(&fault, None, &mut passed.emitted);
            self.give_up_offering(&mut passed.emitted);
        }
        let kept = self.held.evict(|held| !held.is_empty());
        if !kept.is_empty() {
            let items: u64 = kept.iter().map(Batch::items).sum();
            tracing::warn!(stage = %self.spec.name, items, "plugin kept items after its drain");
            self.let_go(kept, Reason::Undrained, &mut passed.emitted);
        }
        self.orphaned = false;
        self.count_held();
        self.count_output(&passed);
        passed.emitted
    }

    pub(super) fn hold(&mut self, ticket: Ticket, held: HeldItems, mut tally: Tally) {
        tally.transfer(Account::Held(self.column.stage));
        self.held.insert(ticket, held, tally);
        self.count_held();
    }

    /// Lets go of released items, and takes the items that the plugin made. Items that a plugin
    /// makes in the same answer in which it judges a batch or releases held items count as made
    /// from those: the records of the sources are not finished before the new items are through,
    /// too. Items that it makes from items it dropped earlier, and so has only in its own memory,
    /// are tied to nothing: a plugin that aggregates should hold until it emits the result.
    pub(super) fn release(
        &mut self,
        released: &CheckedEmission,
        mut source: Source,
        emitted: &mut Vec<Batch>,
    ) {
        if released.created > 0 {
            self.held.trace_to(&released.settlement, &mut source);
        }
        if let Some(witness) = &mut self.witness {
            witness
                .released
                .extend_from_slice(&released.emission.released);
        }
        emitted.extend(
            self.held
                .settle(self.column, &released.settlement, &released.emission),
        );
        if released.created > 0 {
            let tally = self.ledger.create(released.created, source);
            emitted.push(Batch {
                bytes: Bytes::copy_from_slice(&released.emission.created),
                tally,
            });
        }
        self.count_held();
    }

    /// Checks and applies the result of a tick or a drain.
    pub(super) fn settle(&mut self, result: Result<Emission, Fault>, emitted: &mut Vec<Batch>) {
        let reasons = self.generation.manifest().drop_reasons.len();
        let checked = result.and_then(|emission| {
            CheckedEmission::new(&self.held, reasons, &self.limits, emission)
                .map_err(|message| Fault::new(FaultKind::BadReply, message))
        });
        match checked {
            Ok(released) => self.release(&released, Source::default(), emitted),
            Err(fault) => self.failed(&fault, None, emitted),
        }
    }

    pub(super) async fn ask_to_drain(
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

    /// Keeps held items within the stage's limits on items and bytes.
    pub(super) async fn relieve(&mut self, emitted: &mut Vec<Batch>) {
        let hold = self.spec.hold;
        let over = |held: &HeldTable| held.items() > hold.items || held.bytes() > hold.bytes;
        if !over(&self.held) {
            return;
        }
        self.press(emitted).await;
        let evicted = self.held.evict(over);
        self.evicted(evicted, emitted);
    }

    /// Keeps held items within the stage's limit on time.
    pub(super) async fn expire(&mut self, emitted: &mut Vec<Batch>) {
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

    /// Asks the plugin to let go of all that it can.
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

    pub(super) fn count_held(&mut self) {
        let bytes = self.held.bytes() as u64;
        let before = std::mem::replace(&mut self.held.booked_bytes, bytes);
        self.post(|column| {
            column.held_bytes = (column.held_bytes + bytes).saturating_sub(before);
        });
    }
}
