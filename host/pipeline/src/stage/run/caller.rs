//! The calls of a plugin: their replies are checked, then applied to the batch in hand and to the
//! held items.

use std::sync::Arc;
use std::time::Duration;

use spandrel_wire::{HeldItems, Limits};

use super::batch::StageBatch;
use super::counts::StageCounts;
use super::instance::CurrentInstance;
use super::output::StageOutput;
use super::recording::ReplyRecording;
use super::reply::{CheckedEmission, CheckedReply};
use crate::batch::Batch;
use crate::ledger::{Ledger, Reason, Source, Tally};
use crate::plugin::{DrainReason, Emission, Fault, FaultKind, Generation, Input, Instance, Ticket};
use crate::stage::held::HeldTable;

/// Calls the instance, and keeps what it holds. A failed call changes nothing: what follows from it
/// is not decided here.
pub(super) struct Caller {
    instance: CurrentInstance,
    held: HeldTable,
    limits: Limits,
    counts: StageCounts,
    last_ticket: Ticket,
    /// The plugin's exact replies, while they are compared with those of another.
    recording: Option<ReplyRecording>,
}

impl Caller {
    /// Makes a caller for the stage of this name. No ticket is lower than `first_ticket`.
    pub(super) fn new(
        stage: &str,
        generation: Arc<dyn Generation>,
        limits: Limits,
        ledger: Arc<Ledger>,
        instance: Box<dyn Instance>,
        first_ticket: Ticket,
    ) -> Self {
        Self {
            counts: StageCounts::new(ledger, stage, &*generation),
            instance: CurrentInstance::new(generation, instance),
            held: HeldTable::default(),
            limits,
            last_ticket: first_ticket.saturating_sub(1),
            recording: None,
        }
    }

    pub(super) fn instance(&self) -> &CurrentInstance {
        &self.instance
    }

    pub(super) fn instance_mut(&mut self) -> &mut CurrentInstance {
        &mut self.instance
    }

    pub(super) fn held(&self) -> &HeldTable {
        &self.held
    }

    pub(super) fn held_mut(&mut self) -> &mut HeldTable {
        &mut self.held
    }

    pub(super) fn counts(&self) -> &StageCounts {
        &self.counts
    }

    pub(super) fn counts_mut(&mut self) -> &mut StageCounts {
        &mut self.counts
    }

    /// Returns the ticket that was given out last.
    pub(super) fn last_ticket(&self) -> Ticket {
        self.last_ticket
    }

    /// Gives out the next ticket.
    pub(super) fn next_ticket(&mut self) -> Ticket {
        self.last_ticket += 1;
        self.last_ticket
    }

    /// Makes all tickets from now on higher than this one.
    pub(super) fn skip_tickets(&mut self, last: Ticket) {
        self.last_ticket = self.last_ticket.max(last);
    }

    /// Starts to record the plugin's exact replies, or stops.
    pub(super) fn record_replies(&mut self, recorded: bool) {
        self.recording = recorded.then(ReplyRecording::default);
    }

    /// Records the verdicts on a batch that came into the stage.
    pub(super) fn record(&mut self, ticket: Ticket, reply: &mut CheckedReply) {
        if let (Some(recording), Some(verdicts)) = (&mut self.recording, reply.verdicts.take()) {
            recording.judged = Some((ticket, verdicts));
        }
    }

    /// Returns the replies since they were last taken.
    pub(super) fn take_recording(&mut self) -> Option<ReplyRecording> {
        self.recording.as_mut().map(std::mem::take)
    }

    /// Offers a batch to the plugin. The reply is checked in whole, then applied to `input`.
    pub(super) async fn judge(
        &mut self,
        ticket: Ticket,
        input: &mut Input,
        items: u64,
    ) -> Result<CheckedReply, Fault> {
        let reply = self
            .instance
            .process(ticket, input, items, &self.counts)
            .await?;
        let verdicts = self.recording.is_some().then(|| reply.verdicts.clone());
        let manifest = self.instance.manifest();
        let checked = CheckedReply::new(&self.held, manifest, &self.limits, input, items, reply);
        let mut checked = checked.map_err(|message| Fault::new(FaultKind::BadReply, message))?;
        checked.verdicts = verdicts;
        Ok(checked)
    }

    /// Books a checked reply. Cannot fail.
    pub(super) fn apply(
        &mut self,
        ticket: Ticket,
        mut batch: StageBatch,
        reply: CheckedReply,
        output: &mut StageOutput,
    ) {
        let CheckedReply {
            effect, emission, ..
        } = reply;
        let came = batch.items();
        let mut source = Source::default();
        if emission.as_ref().is_some_and(CheckedEmission::creates) {
            batch.tally.trace_to(&mut source);
        }
        for (code, items) in effect.dropped {
            let reason = Reason::from_code(code);
            batch.tally.drop_items(self.counts.column(), reason, items);
        }
        if let Some(held) = effect.held {
            let part = batch.tally.split(held.len() as u64);
            self.hold(ticket, held, part);
        }
        let nothing_left = effect.kept_items == 0 && came > 0;
        output.kept = (!nothing_left).then_some(batch);
        if let Some(emission) = emission {
            self.release(&emission, source, &mut output.emitted);
        }
    }

    fn hold(&mut self, ticket: Ticket, held: HeldItems, mut tally: Tally) {
        tally.transfer(self.counts.held_account());
        self.held.insert(ticket, held, tally);
        self.count_held();
    }

    /// Lets go of released items, and takes the items that the plugin made. Items that a plugin
    /// makes in the same reply in which it judges a batch or releases held items count as made from
    /// those: the records of the sources are not finished before the new items are through, too.
    /// Items that it makes from items it dropped earlier, and so has only in its own memory, are
    /// tied to nothing: a plugin that aggregates should hold until it emits the result.
    fn release(
        &mut self,
        released: &CheckedEmission,
        mut source: Source,
        emitted: &mut Vec<Batch>,
    ) {
        let CheckedEmission {
            settlement,
            emission,
            created,
        } = released;
        if released.creates() {
            self.held.trace_to(settlement, &mut source);
        }
        if let Some(recording) = &mut self.recording {
            recording.released.extend_from_slice(&emission.released);
        }
        let column = self.counts.column();
        emitted.extend(self.held.settle(column, settlement, emission));
        if released.creates() {
            emitted.push(self.counts.create(emission, *created, source));
        }
        self.count_held();
    }

    /// Lets time pass for the plugin; nothing happens without an instance.
    pub(super) async fn tick(&mut self, emitted: &mut Vec<Batch>) -> Result<(), Fault> {
        match self.instance.tick(&self.counts).await {
            Some(result) => self.settle(result, emitted),
            None => Ok(()),
        }
    }

    /// Asks the plugin to let go of all that it can; nothing happens without an instance.
    pub(super) async fn drain(
        &mut self,
        reason: DrainReason,
        deadline: Duration,
        emitted: &mut Vec<Batch>,
    ) -> Result<(), Fault> {
        match self.instance.drain(reason, deadline, &self.counts).await {
            Some(result) => self.settle(result, emitted),
            None => Ok(()),
        }
    }

    /// Checks and applies the result of a tick or a drain.
    fn settle(
        &mut self,
        result: Result<Emission, Fault>,
        emitted: &mut Vec<Batch>,
    ) -> Result<(), Fault> {
        let reasons = self.instance.manifest().drop_reasons.len();
        let released = CheckedEmission::new(&self.held, reasons, &self.limits, result?)
            .map_err(|message| Fault::new(FaultKind::BadReply, message))?;
        self.release(&released, Source::default(), emitted);
        Ok(())
    }

    /// Books how many bytes are held.
    pub(super) fn count_held(&mut self) {
        let (before, now) = self.held.book_bytes();
        self.counts.change_held_bytes(before, now);
    }

    /// Ends the calls of a plugin that holds nothing any more.
    pub(super) fn end(self) {
        self.counts.close();
    }
}
