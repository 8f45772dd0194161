//! A host for tests, which runs a plugin natively and checks that it keeps the contract.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use spandrel_wire::{
    Assembler, Edits, HeldItems, Limits, Projection, Reads, Rules, Signal, Traces, Verdict,
    check_item_edits, splice, validate,
};

use super::batch::TestBatch;
use super::outcome::{Fate, Outcome, TestedSpan};
use crate::bindings::spandrel::plugin::types;
use crate::emission::{self, Emission, Release};
use crate::host::{Level, double};
use crate::instance::{Instance, Package};
use crate::plugin::{DrainReason, Plugin};

const PACKAGE: Package = Package {
    name: "tested",
    version: "0.0.0",
};

/// The verdict byte for "hold".
const HOLD: u8 = Verdict::Hold.to_byte();

/// One instance of a plugin and what the host keeps for it. It panics on a reply that the real host
/// would treat as a fault.
#[derive(Debug)]
pub struct TestHost<P: Plugin> {
    instance: Instance<P>,
    manifest: types::Manifest,
    /// The start of this instance's clock, on the double's clock.
    started: Duration,
    /// The emission that the instance made outside of a call.
    said: Emission,
    held: BTreeMap<u64, HeldBatch>,
    /// The reads that the plugin has reported; `None` before the first report.
    reads: Option<Reads>,
    /// True if it reads something that no projection has.
    reads_all: bool,
}

/// The held spans of one batch.
#[derive(Debug)]
pub(super) struct HeldBatch {
    held: HeldItems,
    /// The names of the spans that are not settled yet, by index in the batch.
    open: BTreeMap<u32, String>,
}

/// The next ticket. All instances share it, so an instance that takes over from another never has
/// the same tickets.
static TICKETS: AtomicU64 = AtomicU64::new(1);

impl<P: Plugin> TestHost<P> {
    /// Makes a plugin from its config: JSON text, or a `serde_json::Value`. The clocks of this
    /// thread start over; so do log and metrics.
    ///
    /// # Errors
    /// Returns the message that an operator would see.
    pub fn configure(config: impl Display) -> Result<Self, String> {
        double::reset();
        Self::new(&config)
    }

    pub(super) fn new(config: &impl Display) -> Result<Self, String> {
        let started = double::start_instance();
        let (instance, manifest) = Instance::configure(&config.to_string(), PACKAGE)?;
        let mut said = Emission::default();
        emission::exchange(&mut said);
        Ok(Self {
            instance,
            manifest,
            started,
            said,
            held: BTreeMap::new(),
            reads: None,
            reads_all: false,
        })
    }

    /// Gives the plugin a batch.
    ///
    /// # Panics
    /// Panics if the reply does not fit the contract.
    #[track_caller]
    pub fn process(&mut self, batch: &TestBatch) -> Outcome {
        self.process_bytes(&batch.bytes())
    }

    /// Gives the plugin a batch as bytes: one serialized `ExportTraceServiceRequest`.
    ///
    /// # Panics
    /// Panics if the bytes are not a valid request, or if the reply does not fit the contract.
    #[track_caller]
    pub fn process_bytes(&mut self, batch: &[u8]) -> Outcome {
        valid_or_panic(
            "the batch",
            validate(Signal::Traces, batch, &Limits::default()),
        );
        let ticket = TICKETS.fetch_add(1, Ordering::Relaxed);
        let reply = self.call(ticket, batch);
        let untouched = reply.verdicts.is_empty()
            && reply.edits.is_empty()
            && reply.blob.is_empty()
            && reply.emission.is_none();
        let mut outcome = Outcome {
            untouched,
            ..Outcome::default()
        };
        outcome.spans = self.settle_batch(ticket, batch, &reply);
        if let Some(emission) = &reply.emission {
            self.take_emission(emission, &mut outcome);
        }
        outcome
    }

    /// Runs a tick.
    ///
    /// # Panics
    /// Panics if the emission does not fit the contract.
    #[track_caller]
    pub fn tick(&mut self) -> Outcome {
        let emission = self.within(Instance::tick);
        self.emitted(&emission)
    }

    /// Asks the plugin to release its held spans.
    ///
    /// # Panics
    /// Panics if the emission does not fit the contract.
    #[track_caller]
    pub fn drain(&mut self, reason: DrainReason) -> Outcome {
        let emission = self.within(|instance| instance.drain(reason, 1_000));
        self.emitted(&emission)
    }

    /// Moves the wall clock and the monotonic clock.
    pub fn advance(&self, by: Duration) {
        double::advance(by);
    }

    /// Sets the seed of the random numbers.
    pub fn seed(&self, seed: u64) {
        double::seed(seed);
    }

    /// Returns the lines that the plugin logged.
    pub fn logs(&self) -> Vec<(Level, String)> {
        double::with(|double| double.logs.clone())
    }

    /// Returns the value of one of the plugin's counters.
    pub fn counter(&self, name: &str) -> u64 {
        double::with(|double| double.counters.get(name).copied().unwrap_or_default())
    }

    /// Returns the value of one of the plugin's gauges.
    pub fn gauge(&self, name: &str) -> Option<f64> {
        double::with(|double| double.gauges.get(name).copied())
    }

    /// Returns the number of spans that the host holds for the plugin.
    pub fn held(&self) -> usize {
        self.held.values().map(|batch| batch.open.len()).sum()
    }

    /// Returns the plugin itself.
    pub fn plugin(&self) -> &P {
        self.instance.plugin()
    }

    /// Calls the instance with its own clock and emission, because another instance may live on
    /// this thread.
    pub(super) fn within<R>(&mut self, call: impl FnOnce(&mut Instance<P>) -> R) -> R {
        double::enter_instance(self.started);
        emission::exchange(&mut self.said);
        let answer = call(&mut self.instance);
        emission::exchange(&mut self.said);
        answer
    }

    /// Returns true if the manifest declares a state to carry over.
    pub(super) fn has_state(&self) -> bool {
        self.manifest.state_version != 0
    }

    pub(super) fn held_batches(&mut self) -> &mut BTreeMap<u64, HeldBatch> {
        &mut self.held
    }

    /// Calls the plugin. Once it has reported what it reads, it gets projections at once, sooner
    /// than with the real host, so that tests reveal any effect of that.
    fn call(&mut self, ticket: u64, batch: &[u8]) -> types::Reply {
        let reads = self.reads.as_ref();
        let projected = reads.filter(|_| !self.reads_all && !self.manifest.holds);
        let bytes = match projected {
            Some(reads) => Projection::new(batch, reads.clone()).bytes().to_vec(),
            None => batch.to_vec(),
        };
        let is_projected = projected.is_some();
        double::with(|double| double.batch = is_projected.then(|| batch.to_vec()));
        let reply = self.within(|instance| instance.process(ticket, bytes, is_projected));
        if let Some(news) = &reply.reads {
            let reads = self.reads.get_or_insert_default();
            if news.fields {
                reads.add_fields();
            }
            let fits = |key: &String| reads.add_key(key).is_some();
            self.reads_all |= news.whole || !news.attributes.iter().all(fits);
        }
        reply
    }

    #[track_caller]
    fn settle_batch(&mut self, ticket: u64, batch: &[u8], reply: &types::Reply) -> Vec<TestedSpan> {
        let spans: Vec<_> = Traces::new(batch).spans().collect();
        let rules = Rules {
            items: spans.len(),
            reasons: self.manifest.drop_reasons.len(),
            holds: self.manifest.holds,
            limits: Limits::default(),
        };
        let edits = Edits {
            words: &reply.edits,
            blob: &reply.blob,
        };
        valid_or_panic("the reply", splice(batch, &reply.verdicts, edits, &rules));
        let verdicts = match reply.verdicts.as_slice() {
            [] => vec![0; spans.len()],
            said => said.to_vec(),
        };
        // Kept spans are cut out like held ones: one by one, with all edits.
        let all_held = verdicts.iter().map(|&verdict| verdict.max(HOLD));
        let all_held: Vec<u8> = all_held.collect();
        let rules = Rules {
            holds: true,
            ..rules
        };
        let spliced = splice(batch, &all_held, edits, &rules);
        let held = valid_or_panic("the reply", spliced)
            .held
            .unwrap_or_default();

        let mut tested = Vec::with_capacity(spans.len());
        let mut open = BTreeMap::new();
        for (placed, verdict) in spans.iter().zip(verdicts) {
            let name = placed.span.name().to_owned();
            let fate = self.fate(verdict);
            if fate == Fate::Held {
                open.insert(placed.index, name.clone());
            }
            let request = cut_out(&held, placed.index, Edits::default());
            tested.push(TestedSpan {
                name,
                fate,
                request,
            });
        }
        if !open.is_empty() {
            self.held.insert(ticket, HeldBatch { held, open });
        }
        tested
    }

    #[track_caller]
    fn emitted(&mut self, emission: &types::Emission) -> Outcome {
        let mut outcome = Outcome::default();
        self.take_emission(emission, &mut outcome);
        outcome
    }

    #[track_caller]
    #[expect(clippy::panic, reason = "a failed test")]
    fn take_emission(&mut self, emission: &types::Emission, outcome: &mut Outcome) {
        let (released, []) = emission.released.as_chunks::<2>() else {
            panic!("the emission: released is not two words for each");
        };
        let edits = Edits {
            words: &emission.edits,
            blob: &emission.blob,
        };
        let checked = check_item_edits(edits, released.len(), &Limits::default());
        valid_or_panic("the emission", checked);
        let ordered = edits.ordered();
        let edits = Edits {
            words: &ordered,
            blob: &emission.blob,
        };
        for (position, words) in (0..).zip(released) {
            let released = Release::from_words(*words);
            let fate = self.fate(released.outcome);
            let Some((batch, name)) = self.held.get_mut(&released.ticket).and_then(|batch| {
                let name = batch.open.remove(&released.index)?;
                Some((batch, name))
            }) else {
                panic!("the emission: {released:?} is not held");
            };
            let request = match fate {
                Fate::Kept => cut_out(&batch.held, released.index, edits.of_item(position)),
                Fate::Held => panic!("the emission: {released:?} is held again"),
                Fate::Dropped(_) | Fate::Undisposed => Vec::new(),
            };
            outcome.spans.push(TestedSpan {
                name,
                fate,
                request,
            });
        }
        self.held.retain(|_, batch| !batch.open.is_empty());
        let created = validate(Signal::Traces, &emission.created, &Limits::default());
        valid_or_panic("created", created);
        outcome.created.extend(alone(&emission.created));
    }

    #[track_caller]
    #[expect(clippy::panic, reason = "a failed test")]
    fn fate(&self, outcome: u8) -> Fate {
        match Verdict::from_byte(outcome) {
            Verdict::Keep => Fate::Kept,
            Verdict::Hold => Fate::Held,
            Verdict::Undisposed => Fate::Undisposed,
            Verdict::Drop(reason) => match self.manifest.drop_reasons.get(usize::from(reason)) {
                Some(name) => Fate::Dropped(name.clone()),
                None => panic!("drop reason {reason} is not in the manifest"),
            },
        }
    }
}

impl HeldBatch {
    /// Adds the spans that are still held to a request.
    pub(super) fn push_all(&self, request: &mut Assembler) {
        for &index in self.open.keys() {
            let position = self.held.position(index);
            let pushed = position.map(|at| request.push(&self.held, at, Edits::default()));
            assert!(matches!(pushed, Some(Ok(()))), "what is held is a span");
        }
    }
}

/// Returns a request with one of these spans, or an empty one if the span is not there.
fn cut_out(held: &HeldItems, index: u32, edits: Edits<'_>) -> Vec<u8> {
    let mut request = Assembler::new();
    let pushed = held
        .position(index)
        .map(|position| request.push(held, position, edits));
    match pushed {
        Some(Ok(())) => request.finish().0,
        Some(Err(_)) | None => Vec::new(),
    }
}

/// Returns each span of a request that a plugin made, in a request of its own.
fn alone(request: &[u8]) -> Vec<TestedSpan> {
    let spans: Vec<_> = Traces::new(request).spans().collect();
    let rules = Rules {
        items: spans.len(),
        reasons: 0,
        holds: true,
        limits: Limits::default(),
    };
    let spliced = splice(request, &vec![HOLD; spans.len()], Edits::default(), &rules);
    let held = valid_or_panic("created", spliced).held.unwrap_or_default();
    let tested = spans.iter().map(|placed| TestedSpan {
        name: placed.span.name().to_owned(),
        fate: Fate::Kept,
        request: cut_out(&held, placed.index, Edits::default()),
    });
    tested.collect()
}

#[track_caller]
#[expect(clippy::panic, reason = "a failed test")]
fn valid_or_panic<T, E: Display>(what: &str, checked: Result<T, E>) -> T {
    match checked {
        Ok(value) => value,
        Err(wrong) => panic!("{what}: {wrong}"),
    }
}
