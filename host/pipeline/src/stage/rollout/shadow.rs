//! A candidate that sees a copy of the traffic: its answers are compared with those of the running
//! generation and then discarded.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use spandrel_wire::{Edits, Limits, Output, Rules, Signal, Splice, Verdict};
use tokio::time::Instant;

use super::comparison::{self, Comparison, Label, Outcome};
use crate::ledger::{Column, GenerationBooks, Ledger};
use crate::plugin::{
    Emission, Fault, FaultKind, Generation, Input, Instance, Manifest, Reply, State, Ticket,
};
use crate::stage::cpu_time::CpuSampling;
use crate::stage::held;

/// The number of spans that are remembered by name, service and ids while one of the two
/// generations holds them, for each shard: some 30 MiB. The oldest are forgotten first.
const UNSETTLED: usize = 100_000;
/// The time after which a shadow that failed is instantiated again: its failures must not cost the
/// shard more than its calls do.
const REBUILD_AFTER: Duration = Duration::from_secs(1);

/// A candidate that sees a copy of the traffic.
pub(crate) struct Shadow {
    generation: Arc<dyn Generation>,
    instance: Option<Box<dyn Instance>>,
    sampling: CpuSampling,
    rebuild_at: Instant,
    tick_at: Option<Instant>,
    unsettled: BTreeMap<(Ticket, u32), UnsettledSpan>,
    report: Arc<Mutex<Comparison>>,
    column: Column,
    ledger: Arc<Ledger>,
    limits: Limits,
}

/// A span that one of the two generations holds.
struct UnsettledSpan {
    label: Label,
    running: Option<Outcome>,
    shadow: Option<Outcome>,
}

/// The running generation's answer to a batch.
pub(crate) struct RunningReply<'a> {
    pub(crate) ticket: Ticket,
    pub(crate) verdicts: &'a [u8],
    /// The request that the running generation kept of the batch.
    pub(crate) kept: &'a [u8],
    pub(crate) manifest: &'a Manifest,
}

impl Shadow {
    /// Makes a shadow with the running generation's state, if it takes that state.
    pub(crate) async fn new(
        generation: Arc<dyn Generation>,
        mut instance: Box<dyn Instance>,
        state: Option<State>,
        report: Arc<Mutex<Comparison>>,
        ledger: Arc<Ledger>,
        stage: &str,
        limits: Limits,
    ) -> Self {
        let manifest = generation.manifest();
        let column = ledger.open(stage, generation.number(), &manifest.drop_reasons);
        let now = Instant::now();
        let tick_at = manifest.tick_interval.map(|interval| now + interval);
        let mut faulted = None;
        if let Some(state) = state {
            // A refusal is not a failure: the shadow begins without state.
            faulted = instance.restore(state).await.err();
        }
        let mut shadow = Self {
            generation,
            instance: Some(instance),
            rebuild_at: now,
            tick_at,
            unsettled: BTreeMap::new(),
            sampling: CpuSampling::default(),
            report,
            column,
            ledger,
            limits,
        };
        if let Some(fault) = faulted {
            shadow.failed(&fault);
        }
        shadow
    }

    pub(crate) fn generation(&self) -> &Arc<dyn Generation> {
        &self.generation
    }

    pub(crate) fn next_tick(&self) -> Option<Instant> {
        self.tick_at
    }

    /// Shows it a batch that the running generation has judged.
    pub(crate) async fn see(&mut self, batch: Bytes, ran: RunningReply<'_>) {
        self.rebuild().await;
        let Some(instance) = &mut self.instance else {
            return;
        };
        let items = spandrel_wire::count(Signal::Traces, &batch);
        let input = Input::from(batch.clone());
        let started = Instant::now();
        let call = instance.process(ran.ticket, &input);
        let (answer, cpu_time) = self.sampling.call(call).await;
        let elapsed = started.elapsed();
        let judged = answer.and_then(|mut reply| {
            let released = reply.emission.take();
            let judged = self.judge(&batch, items, &reply)?;
            Ok((judged, reply.verdicts, released))
        });
        self.post(|figures| {
            figures.input += items as u64;
            figures.calls += 1;
            figures.call_time += elapsed;
            if let Some(cpu_time) = cpu_time {
                figures.samples.add(items as u64, cpu_time);
            }
        });
        match judged {
            Ok((spliced, verdicts, released)) => {
                self.count(&spliced);
                self.compare(&batch, &verdicts, &spliced.output, &ran);
                self.settle_own(released);
            }
            Err(fault) => self.failed(&fault),
        }
    }

    /// Records the items that the running generation let go.
    pub(crate) fn settle_running(&mut self, released: &[u64], manifest: &Manifest) {
        self.settle(released, &manifest.drop_reasons, |item| &mut item.running);
    }

    /// Lets time pass for the shadow.
    pub(crate) async fn tick(&mut self, now: Instant) {
        if self.tick_at.is_none_or(|due| due > now) {
            return;
        }
        if let Some(instance) = &mut self.instance {
            match instance.tick().await {
                Ok(emission) => self.settle_own(Some(emission)),
                Err(fault) => self.failed(&fault),
            }
        }
        let interval = self.generation.manifest().tick_interval;
        self.tick_at = interval.map(|interval| Instant::now() + interval);
    }

    async fn rebuild(&mut self) {
        if self.instance.is_none() && Instant::now() >= self.rebuild_at {
            self.rebuild_at = Instant::now() + REBUILD_AFTER;
            self.instance = self.generation.instantiate().await.ok();
        }
    }

    /// Checks a reply like that of a running plugin.
    fn judge(&self, batch: &[u8], items: usize, reply: &Reply) -> Result<Splice, Fault> {
        let manifest = self.generation.manifest();
        let rules = Rules {
            items,
            reasons: manifest.drop_reasons.len(),
            holds: manifest.holds,
            limits: self.limits,
        };
        let edits = Edits {
            words: &reply.edits,
            blob: &reply.blob,
        };
        spandrel_wire::splice(batch, &reply.verdicts, edits, &rules)
            .map_err(|bad| Fault::new(FaultKind::BadReply, bad.to_string()))
    }

    fn count(&self, spliced: &Splice) {
        let dropped: u64 = spliced.dropped.iter().map(|(_, items)| items).sum();
        self.post(|figures| {
            figures.output += spliced.kept_items as u64;
            figures.dropped += dropped;
        });
    }

    fn compare(&mut self, batch: &[u8], verdicts: &[u8], kept: &Output, ran: &RunningReply<'_>) {
        let reasons = &self.generation.manifest().drop_reasons;
        let kept = match kept {
            Output::Unchanged => batch,
            Output::Request(bytes) => bytes,
            Output::Nothing => &[],
        };
        let mut ours = comparison::kept(kept);
        let mut theirs = comparison::kept(ran.kept);
        let mut report = self.report.lock();
        for (item, placed) in comparison::kept(batch).enumerate() {
            let shadow = comparison::verdict(verdicts, item);
            let running = comparison::verdict(ran.verdicts, item);
            let our = (shadow == Verdict::Keep).then(|| ours.next()).flatten();
            let their = (running == Verdict::Keep).then(|| theirs.next()).flatten();
            let mut shadow = comparison::said(shadow, reasons);
            let running = comparison::said(running, &ran.manifest.drop_reasons);
            if let (Some(our), Some(their)) = (&our, &their)
                && !comparison::same(our, their)
            {
                shadow = Some(Outcome::KeepEdited);
            }
            match (running, shadow) {
                (Some(running), Some(shadow)) => {
                    report.add(|| Label::of(&placed), running, shadow);
                }
                (running, shadow) => {
                    report.unsettled += 1;
                    let item = UnsettledSpan {
                        label: Label::of(&placed),
                        running,
                        shadow,
                    };
                    self.unsettled.insert((ran.ticket, placed.index), item);
                }
            }
        }
        while self.unsettled.len() > UNSETTLED {
            self.unsettled.pop_first();
            report.unsettled -= 1;
            report.forgotten += 1;
        }
    }

    fn settle_own(&mut self, emission: Option<Emission>) {
        let Some(Emission {
            released, created, ..
        }) = emission
        else {
            return;
        };
        let generation = Arc::clone(&self.generation);
        let reasons = &generation.manifest().drop_reasons;
        let checked = held::check_words(&released, reasons.len()).and_then(|()| {
            spandrel_wire::validate(Signal::Traces, &created, &self.limits)
                .map_err(|invalid| format!("created: {invalid}"))
        });
        if let Err(message) = checked {
            return self.failed(&Fault::new(FaultKind::BadReply, message));
        }
        self.settle(&released, reasons, |item| &mut item.shadow);
    }

    fn settle(
        &mut self,
        released: &[u64],
        reasons: &[String],
        outcome_of: impl Fn(&mut UnsettledSpan) -> &mut Option<Outcome>,
    ) {
        let mut report = self.report.lock();
        for &[ticket, word] in released.as_chunks::<2>().0 {
            #[expect(
                clippy::cast_possible_truncation,
                reason = "the index is in the low half, the outcome in the byte above it"
            )]
            let (index, outcome) = (word as u32, (word >> 32) as u8);
            // Items that were held before the comparison began are not in `unsettled`.
            let Some(item) = self.unsettled.get_mut(&(ticket, index)) else {
                continue;
            };
            *outcome_of(item) = comparison::said(Verdict::from_byte(outcome), reasons);
            if item.running.is_none() || item.shadow.is_none() {
                continue;
            }
            if let Some(UnsettledSpan {
                label,
                running: Some(running),
                shadow: Some(shadow),
            }) = self.unsettled.remove(&(ticket, index))
            {
                report.unsettled -= 1;
                report.add(|| label, running, shadow);
            }
        }
    }

    fn failed(&mut self, fault: &Fault) {
        self.instance = None;
        self.rebuild_at = Instant::now() + REBUILD_AFTER;
        self.post(|figures| figures.faults += 1);
        let mut report = self.report.lock();
        report.faults += 1;
        report.last_fault = Some(fault.to_string());
    }

    fn post(&self, entry: impl FnOnce(&mut GenerationBooks)) {
        self.ledger.post_stage(self.column.stage, |column| {
            column.generation_mut(self.column.generation).map(entry);
        });
    }
}

impl Drop for Shadow {
    fn drop(&mut self) {
        let mut report = self.report.lock();
        report.unsettled = report.unsettled.saturating_sub(self.unsettled.len() as u64);
        self.ledger.close(self.column);
    }
}
