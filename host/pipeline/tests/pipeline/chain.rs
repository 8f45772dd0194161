//! Chains with and without a projection: plugins that report what they read must give the same
//! result as the same plugins when they report nothing.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use spandrel_pipeline::egress::ExporterSpec;
use spandrel_pipeline::exporter::{Exporter, Outcome};
use spandrel_pipeline::pipeline::Pipeline;
use spandrel_pipeline::queue::QueueConfig;
use spandrel_pipeline::stage::{
    DrainReason, Emission, Fault, FaultKind, FaultPolicy, Generation, Input, Instance,
    InstantiateError, Manifest, NewReads, Reply, StageSpec, Ticket,
};
use spandrel_wire::{Signal, Traces, write_key_value};
use tokio::time::Instant;

use self::request::request;
use crate::edges::{config, offer, stage as native};

mod request;

/// The keys that plugins read, set and delete: few, so that plugins use the same ones.
const KEYS: [&str; 5] = ["a", "b", "c", "d", "e"];

/// The behavior of one plugin in a run. All its decisions depend on the data that it reads and on
/// its seed.
#[derive(Clone, Debug)]
struct Character {
    seed: u64,
    key: &'static str,
    /// True if it reads and sets more than attributes.
    fields: bool,
    holds: bool,
    faults: f64,
}

/// Makes instances of a character.
#[derive(Debug)]
struct Plugin {
    manifest: Manifest,
    character: Character,
    made: AtomicUsize,
    /// True if it reports what it reads.
    says: bool,
    projected: Arc<AtomicUsize>,
}

impl Generation for Plugin {
    fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    fn instantiate(&self) -> BoxFuture<'_, Result<Box<dyn Instance>, InstantiateError>> {
        let number = self.made.fetch_add(1, Ordering::Relaxed) as u64;
        let instance = Reader {
            character: self.character.clone(),
            rng: StdRng::seed_from_u64(self.character.seed ^ number << 32),
            held: Vec::new(),
            news: self.says.then(|| NewReads {
                fields: self.character.fields,
                attributes: vec![self.character.key.to_owned()],
                whole: false,
            }),
            projected: Arc::clone(&self.projected),
        };
        Box::pin(async move { Ok(Box::new(instance) as Box<dyn Instance>) })
    }
}

struct Reader {
    character: Character,
    rng: StdRng,
    held: Vec<u64>,
    news: Option<NewReads>,
    projected: Arc<AtomicUsize>,
}

/// Edits that are being written.
#[derive(Default)]
struct EditList {
    words: Vec<u32>,
    blob: Vec<u8>,
}

impl EditList {
    fn ask(&mut self, operation: u32, index: u32, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.blob.len();
        write(&mut self.blob);
        let [offset, length] = [start, self.blob.len() - start].map(|n| n.try_into().unwrap());
        self.words.extend([operation, index, offset, length]);
    }
}

impl Reader {
    fn judge(&mut self, ticket: Ticket, input: &Input) -> Reply {
        let whole = self.rng.random_bool(0.1).then(|| input.whole());
        let mut edits = EditList::default();
        let mut verdicts = Vec::new();
        for placed in Traces::new(input.bytes()).spans() {
            let span = placed.span;
            let value = span.attribute_str(self.character.key).unwrap_or_default();
            let resource = placed.resource_spans.resource();
            let doomed = resource.attribute_str("doom") == Some(self.character.key);
            let named = self.character.fields && span.name().ends_with('7');
            let verdict = match self.rng.random_range(0..8_u8) {
                _ if doomed || value.ends_with('x') => 2,
                0 if named => 2,
                1 if self.character.holds => 1,
                _ => 0,
            };
            if verdict == 1 {
                self.held.extend([ticket, u64::from(placed.index)]);
            }
            verdicts.push(verdict);
            let sums = [placed.index, placed.scope_index, placed.resource_index];
            self.edit(&mut edits, sums, value);
        }
        if let Some(whole) = whole {
            // Reads parts that no projection has: every attribute, and events.
            let spans = Traces::new(&whole).spans();
            for (span, index) in spans.map(|placed| placed.span).zip(0..) {
                let read = span.attributes().count() + span.events().count();
                edits.ask(0, index, |out| {
                    write_key_value(out, "seen", read as u64 as i64)
                });
            }
        }
        if verdicts.iter().all(|verdict| *verdict == 0) {
            verdicts.clear();
        }
        Reply {
            verdicts,
            edits: edits.words,
            blob: edits.blob,
            emission: None,
            reads: self.news.take(),
        }
    }

    fn edit(&mut self, edits: &mut EditList, [item, scope, resource]: [u32; 3], value: &str) {
        let key = KEYS[self.rng.random_range(0..KEYS.len())];
        let longer = format!("{value}{}", ["x", "y", "z"][self.rng.random_range(0..3)]);
        let set = |out: &mut Vec<u8>| write_key_value(out, key, longer.as_str());
        let delete = |out: &mut Vec<u8>| out.extend_from_slice(key.as_bytes());
        match self.rng.random_range(0..24) {
            0..6 => edits.ask(0, item, set),
            6..8 => edits.ask(1, item, delete),
            8 => edits.ask(6, resource, set),
            9 => edits.ask(7, resource, delete),
            10 => edits.ask(8, scope, set),
            11 => edits.ask(9, scope, delete),
            12 if self.character.fields => {
                edits.ask(2, item, |out| out.extend_from_slice(longer.as_bytes()));
            }
            13 if self.character.fields => {
                edits.ask(5, item, |out| request::span(out, item.into()));
            }
            _ => {}
        }
    }
}

impl Instance for Reader {
    fn process<'a>(
        &'a mut self,
        ticket: Ticket,
        input: &'a Input,
    ) -> BoxFuture<'a, Result<Reply, Fault>> {
        if input.reads().is_some() {
            self.projected.fetch_add(1, Ordering::Relaxed);
        }
        let answer = if self.rng.random_bool(self.character.faults) {
            Err(Fault::new(FaultKind::Trap, "by chance"))
        } else {
            let mut reply = self.judge(ticket, input);
            if self.rng.random_bool(self.character.faults) {
                // This makes a bad reply, after good edits.
                reply.edits.extend([0, u32::MAX, 0, 0]);
            }
            Ok(reply)
        };
        Box::pin(std::future::ready(answer))
    }

    fn tick(&mut self) -> BoxFuture<'_, Result<Emission, Fault>> {
        let released = std::mem::take(&mut self.held);
        Box::pin(std::future::ready(Ok(Emission {
            released,
            ..Emission::default()
        })))
    }

    fn drain(&mut self, _: DrainReason, _: Duration) -> BoxFuture<'_, Result<Emission, Fault>> {
        self.tick()
    }
}

/// A backend that remembers the bytes.
#[derive(Debug, Default)]
struct Memory(Mutex<Vec<Bytes>>);

impl Exporter for Memory {
    fn export(&self, _: Signal, batch: Bytes) -> BoxFuture<'_, Outcome> {
        self.0.lock().unwrap().push(batch);
        Box::pin(std::future::ready(Outcome::Sent))
    }
}

/// The result of a run.
struct RunResult {
    exported: Vec<Bytes>,
    books: String,
    projected: usize,
}

/// Returns true if runs of this seed read and write more than attributes.
fn has_fields(seed: u64) -> bool {
    seed % 2 == 1
}

fn stages(seed: u64, says: bool, projected: &Arc<AtomicUsize>) -> Vec<StageSpec> {
    let mut rng = StdRng::seed_from_u64(seed);
    let faults = [0.0, 0.0, 0.02, 0.2][rng.random_range(0..4)];
    let holder = rng.random_bool(0.3).then_some(1);
    (0..rng.random_range(3..6))
        .map(|at| {
            let character = Character {
                seed: rng.random(),
                key: KEYS[rng.random_range(0..KEYS.len())],
                fields: has_fields(seed) && rng.random_bool(0.5),
                holds: holder == Some(at),
                faults,
            };
            let manifest = Manifest {
                holds: character.holds,
                tick_interval: character.holds.then_some(Duration::from_millis(30)),
                drop_reasons: vec!["by chance".to_owned()],
                ..Manifest::default()
            };
            let mut spec = native(Manifest::default(), |_| |_| Ok(Reply::default()));
            spec.on_fault =
                [FaultPolicy::Pass, FaultPolicy::Drop, FaultPolicy::Refuse][rng.random_range(0..3)];
            spec.generation = Arc::new(Plugin {
                manifest,
                character,
                made: AtomicUsize::new(0),
                says,
                projected: Arc::clone(projected),
            });
            spec
        })
        .collect()
}

async fn run(seed: u64, says: bool) -> RunResult {
    let projected = Arc::new(AtomicUsize::new(0));
    let memory = Arc::new(Memory::default());
    let exporter = ExporterSpec {
        name: "memory".to_owned(),
        exporter: Arc::clone(&memory) as Arc<dyn Exporter>,
        queue: QueueConfig::default(),
        batcher: None,
        retry: spandrel_pipeline::backoff::RetryConfig::default(),
    };
    let pipeline = Pipeline::build(config(stages(seed, says, &projected), vec![exporter]))
        .await
        .unwrap();
    let ledger = Arc::clone(pipeline.ledger());
    let mut rng = StdRng::seed_from_u64(seed ^ 0xbeef);
    let mut last = Bytes::new();
    for _ in 0..40 {
        // A sender repeats a batch that was refused, so some batches come several times.
        let repeated = !last.is_empty() && rng.random_bool(0.2);
        let batch = if repeated { last } else { request(&mut rng) };
        last = batch.clone();
        // The books show whether the batch was refused.
        drop(offer(&pipeline, batch).await);
        assert!(ledger.books().is_balanced(), "seed {seed}: {ledger}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    pipeline
        .drain(Instant::now() + Duration::from_secs(25))
        .await;
    let mut books = ledger.books();
    assert!(
        books.is_balanced() && books.is_settled(),
        "seed {seed}: {ledger}"
    );
    // This field has a time of the clock; the stage's `bypassed` has the same items.
    let generations = books
        .stages
        .iter_mut()
        .flat_map(|stage| &mut stage.generations);
    generations.for_each(|generation| {
        generation.bypass = Default::default();
        // The processor time of calls is that of this machine.
        generation.samples.time = Duration::ZERO;
    });
    RunResult {
        exported: memory.0.lock().unwrap().clone(),
        books: format!("{books:?}"),
        projected: projected.load(Ordering::Relaxed),
    }
}

/// A chain may meet faults, bad replies, refusals, holds in the middle and resources that lose all
/// their spans: exporters get the same, and the books are the same, as without projections. The
/// bytes are identical if only attributes are edited; otherwise the order of a span's fields may
/// differ.
#[tokio::test(start_paused = true)]
async fn a_projection_changes_nothing() {
    let seeds =
        std::env::var("SPANDREL_SEEDS").map_or(150, |seeds| seeds.parse().expect("a number"));
    let mut projected = 0;
    for seed in 0..seeds {
        let (with, without) = (run(seed, true).await, run(seed, false).await);
        assert_eq!(without.projected, 0);
        projected += with.projected;
        assert_eq!(with.books, without.books, "seed {seed}");
        assert_eq!(with.exported.len(), without.exported.len(), "seed {seed}");
        for (with, without) in with.exported.iter().zip(&without.exported) {
            let decode = |bytes: &Bytes| ExportTraceServiceRequest::decode(&bytes[..]).unwrap();
            assert_eq!(decode(with), decode(without), "seed {seed}");
            assert!(has_fields(seed) || with == without, "seed {seed}");
        }
    }
    assert!(
        projected as u64 > seeds * 10,
        "only {projected} calls were projected"
    );
}
