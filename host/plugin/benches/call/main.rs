//! The cost of crossing the boundary: `cargo bench -p spandrel-plugin --bench call`.
//!
//! One run measures a plugin that changes nothing, and the job (filter by attribute, drop repeated
//! spans, add two attributes) as a component and as its native twin: the same source, on the same
//! bytes, with the same splice after it. Samples are short and of all kinds in turn, so that a
//! machine under load is unfair to all alike; read the ratios.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a bench fails by panicking"
)]

mod corpus;
#[path = "../../tests/plugin/guests.rs"]
mod guests;
#[path = "../../../../tests/guests/examples/job/plugin.rs"]
mod job;

use std::hint::black_box;
use std::io::{self, Write as _};
use std::sync::Arc;
use std::time::Duration;

use spandrel_guest::instance::{Instance as NativeInstance, Package};
use spandrel_pipeline::stage::{Instance as _, Reply};
use spandrel_plugin::{Engine, EngineConfig, Generation, Instance, LoadRequest, Metrics};
use spandrel_supply::{CompileLimits, InstanceLimits};
use spandrel_wire::{Edits, Rules, Splice, splice};
use tokio::time::Instant;

use corpus::Batch;

/// The allocator of the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The numbers of spans in a batch.
const SIZES: [usize; 4] = [1, 32, 512, 8192];
/// The spans of the set that each round walks through: more than the job remembers.
const SPANS: usize = 8192;
/// The lowest number of spans in one sample: some tenths of a millisecond, so that another process
/// gets no turn in most samples.
const SAMPLE: usize = 512;
const ROUNDS: usize = 41;

fn main() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(bench())
}

async fn bench() -> io::Result<()> {
    let engine = Engine::new(&EngineConfig {
        instances: 8,
        cache: None,
        ..EngineConfig::default()
    })
    .expect("an engine");
    let unchanged = load(&engine, guests::guest("unchanged")).await;
    let jobs = guests::components(&[
        "--package",
        "spandrel-test-guests",
        "--features",
        "job",
        "--example",
        "job",
    ]);
    let job = load(&engine, jobs.get("job").expect("the job")).await;

    let mut out = io::stdout().lock();
    writeln!(
        out,
        "ns/span, median [best] of all samples of {ROUNDS} rounds; {} bytes/span",
        corpus::batches(SPANS, 512)
            .iter()
            .map(|batch| batch.input.bytes().len())
            .sum::<usize>()
            / SPANS
    )?;
    writeln!(
        out,
        "{:>6} {:>18} {:>18} {:>18} {:>8} {:>18} {:>18} {:>8}",
        "batch",
        "unchanged hop",
        "job native",
        "job plugin",
        "ratio",
        "native+splice",
        "plugin+splice",
        "ratio"
    )?;
    for size in SIZES {
        let row = measure(&unchanged, &job, &corpus::batches(SPANS, size)).await;
        writeln!(
            out,
            "{size:>6} {:>18} {:>18} {:>18} {:>8} {:>18} {:>18} {:>8}",
            row.unchanged.shown(),
            row.native.shown(),
            row.plugin.shown(),
            row.plugin.ratio(&row.native),
            row.native_spliced.shown(),
            row.plugin_spliced.shown(),
            row.plugin_spliced.ratio(&row.native_spliced),
        )?;
    }
    writeln!(
        out,
        "budget at 512: unchanged hop <= 60, plugin+splice <= 2.0 x native+splice"
    )
}

async fn load(engine: &Engine, module: &std::path::Path) -> Generation {
    let load = LoadRequest {
        stage: "bench",
        number: 1,
        module: module.into(),
        pinned: None,
        signature_policy: None,
        config: "{}",
        limits: InstanceLimits {
            // The largest batches need more than a plugin gets by default.
            memory_bytes: 256 << 20,
            call_deadline: Duration::from_secs(10),
            ..InstanceLimits::default()
        },
        compile: CompileLimits::default(),
        metrics: Arc::new(Metrics::default()),
    };
    Generation::load(engine, load).await.expect("a generation")
}

/// The nanoseconds a span of each sample.
#[derive(Default)]
struct Times(Vec<f64>);

#[derive(Default)]
struct Row {
    unchanged: Times,
    native: Times,
    plugin: Times,
    native_spliced: Times,
    plugin_spliced: Times,
}

impl Row {
    fn sort(&mut self) {
        for times in [
            &mut self.unchanged,
            &mut self.native,
            &mut self.plugin,
            &mut self.native_spliced,
            &mut self.plugin_spliced,
        ] {
            times.sort();
        }
    }
}

impl Times {
    fn push(&mut self, time: Duration, spans: usize) {
        let spans = f64::from(u32::try_from(spans).expect("small"));
        self.0.push(time.as_secs_f64() * 1e9 / spans);
    }

    fn sort(&mut self) {
        self.0.sort_by(f64::total_cmp);
    }

    fn median(&self) -> f64 {
        self.0.get(self.0.len() / 2).copied().unwrap_or(f64::NAN)
    }

    fn shown(&self) -> String {
        let best = self.0.first().copied().unwrap_or(f64::NAN);
        format!("{:.0} [{best:.0}]", self.median())
    }

    fn ratio(&self, base: &Self) -> String {
        format!("{:.2}x", self.median() / base.median())
    }
}

async fn measure(unchanged: &Generation, job: &Generation, batches: &[Batch]) -> Row {
    let mut unchanged = unchanged.instance().await.expect("an instance");
    let mut plugin = job.instance().await.expect("an instance");
    let mut native = native_twin();
    let mut row = Row::default();
    check(&mut plugin, &mut native, batches).await;
    for _ in 0..ROUNDS {
        for batches in batches.chunks(SAMPLE.div_ceil(batches.first().map_or(1, |b| b.spans))) {
            sample(&mut row, &mut unchanged, &mut plugin, &mut native, batches).await;
        }
    }
    row.sort();
    row
}

async fn sample(
    row: &mut Row,
    unchanged: &mut Instance,
    plugin: &mut Instance,
    native: &mut NativeInstance<job::Job>,
    batches: &[Batch],
) {
    let spans = batches.iter().map(|batch| batch.spans).sum();
    let mut time = Duration::ZERO;
    for batch in batches {
        let started = Instant::now();
        black_box(unchanged.process(1, &batch.input).await.expect("a reply"));
        time += started.elapsed();
    }
    row.unchanged.push(time, spans);

    let (mut judged, mut spliced) = (Duration::ZERO, Duration::ZERO);
    for batch in batches {
        let started = Instant::now();
        let reply = plugin.process(1, &batch.input).await.expect("a reply");
        judged += started.elapsed();
        black_box(splice_reply(batch, &reply));
        spliced += started.elapsed();
    }
    row.plugin.push(judged, spans);
    row.plugin_spliced.push(spliced, spans);

    let (mut judged, mut spliced) = (Duration::ZERO, Duration::ZERO);
    for batch in batches {
        // The twin gets bytes of its own, as it would from a socket, so its time contains no copy.
        let bytes = batch.input.bytes().to_vec();
        let started = Instant::now();
        let reply = native_reply(native, bytes);
        judged += started.elapsed();
        black_box(splice_reply(batch, &reply));
        spliced += started.elapsed();
    }
    row.native.push(judged, spans);
    row.native_spliced.push(spliced, spans);
}

/// Checks that the twins give the same answer for every batch, or the ratio means nothing.
async fn check(plugin: &mut Instance, native: &mut NativeInstance<job::Job>, batches: &[Batch]) {
    for batch in batches {
        let theirs = plugin.process(1, &batch.input).await.expect("a reply");
        let ours = native_reply(native, batch.input.bytes().to_vec());
        assert_eq!(splice_reply(batch, &theirs), splice_reply(batch, &ours));
    }
}

fn native_twin() -> NativeInstance<job::Job> {
    let package = Package {
        name: "job",
        version: "1",
    };
    let (twin, _) = NativeInstance::configure("{}", package).expect("configured");
    twin
}

fn native_reply(native: &mut NativeInstance<job::Job>, bytes: Vec<u8>) -> Reply {
    let reply = native.process(1, bytes, false);
    Reply {
        verdicts: reply.verdicts,
        edits: reply.edits,
        blob: reply.blob,
        emission: None,
        reads: None,
    }
}

fn splice_reply(batch: &Batch, reply: &Reply) -> Splice {
    let rules = Rules {
        items: batch.spans,
        reasons: 2,
        holds: false,
        limits: spandrel_wire::Limits::default(),
    };
    let edits = Edits {
        words: &reply.edits,
        blob: &reply.blob,
    };
    splice(batch.input.bytes(), &reply.verdicts, edits, &rules).expect("a good reply")
}
