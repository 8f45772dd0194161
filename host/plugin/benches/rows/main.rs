//! The cost of rows of plugins: `cargo bench --workspace --bench rows`.
//!
//! A pipeline without a network runs rows of one plugin (drop by an attribute, add two attributes,
//! different ones in each stage; the first drops a fifth), once as it is, and once with plugins
//! that do not report what they read, so that each stage sees, and has spliced, the whole batch.
//! Rounds of all kinds take turns; read the differences to the row of no plugins, which is
//! validation and queueing.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a bench fails by panicking"
)]

#[path = "../call/corpus.rs"]
mod corpus;
#[path = "../../tests/plugin/guests.rs"]
#[allow(dead_code, reason = "the bench builds another guest than the tests do")]
mod guests;
mod silent;

use std::io::{self, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use spandrel_pipeline::backoff::RetryConfig;
use spandrel_pipeline::egress::ExporterSpec;
use spandrel_pipeline::exporter::{Exporter, Outcome};
use spandrel_pipeline::ingress::Ingress as _;
use spandrel_pipeline::pipeline::{AckOn, Pipeline, PipelineConfig};
use spandrel_pipeline::queue::QueueConfig;
use spandrel_pipeline::stage::{self, StageSpec};
use spandrel_plugin::{Engine, EngineConfig, Generation, LoadRequest, Metrics};
use spandrel_supply::{CompileLimits, InstanceLimits};
use spandrel_wire::Signal;
use tokio::time::Instant;

use silent::Silent;

/// The allocator of the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ROWS: [usize; 5] = [0, 1, 2, 3, 5];
const SPANS: usize = 512;
/// The batches of a round.
const BATCHES: usize = 16;
const ROUNDS: usize = 61;

fn main() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(bench())
}

/// One row of plugins, and its time for a span in each round.
struct Row {
    pipeline: Pipeline,
    times: Vec<f64>,
}

async fn bench() -> io::Result<()> {
    let engine = Engine::new(&EngineConfig {
        instances: 64,
        cache: None,
        ..EngineConfig::default()
    })
    .expect("an engine");
    let jobs = guests::components(&[
        "--package",
        "spandrel-test-guests",
        "--features",
        "job",
        "--example",
        "bench_job",
    ]);
    let module = jobs.get("bench_job").expect("the job");
    let batches = corpus::batches(SPANS * BATCHES, SPANS);
    let spans: usize = batches.iter().map(|batch| batch.spans).sum();
    let batches: Vec<Bytes> = batches
        .into_iter()
        .map(|batch| batch.input.whole())
        .collect();
    let bytes: usize = batches.iter().map(Bytes::len).sum();

    let mut rows = Vec::new();
    for plugins in ROWS {
        for says in [false, true] {
            let pipeline = pipeline(&engine, module, plugins, says).await;
            rows.push(Row {
                pipeline,
                times: Vec::new(),
            });
        }
    }
    for _ in 0..ROUNDS {
        for row in &mut rows {
            row.times.push(round(&row.pipeline, &batches).await);
        }
    }
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "ns/span, median [best] of {ROUNDS} rounds; {SPANS} spans a batch, {} bytes/span",
        bytes / spans
    )?;
    writeln!(out, "{:>8} {:>16} {:>16}", "plugins", "whole", "projected")?;
    for (plugins, row) in ROWS.iter().zip(rows.chunks_mut(2)) {
        write!(out, "{plugins:>8}")?;
        for row in row {
            row.times.sort_by(f64::total_cmp);
            let median = row.times[ROUNDS / 2];
            write!(out, " {:>16}", format!("{median:.0} [{:.0}]", row.times[0]))?;
        }
        writeln!(out)?;
    }
    Ok(())
}

async fn round(pipeline: &Pipeline, batches: &[Bytes]) -> f64 {
    let started = Instant::now();
    for batch in batches {
        let door = pipeline.ingress();
        let offered = door.offer(Signal::Traces, batch.clone()).await;
        offered.expect("room");
    }
    started.elapsed().as_secs_f64() * 1e9 / (BATCHES * SPANS) as f64
}

async fn pipeline(engine: &Engine, module: &Path, plugins: usize, says: bool) -> Pipeline {
    let mut stages = Vec::new();
    for number in 0..plugins {
        let config = format!(
            r#"{{ "drop": {{ "attribute": "http.route", "value": "/healthz" }}, "services": {{}},
                  "default": {{ "team.{number}": "checkout", "cost.center.{number}": "cc-1042" }} }}"#
        );
        let loaded = Arc::new(load(engine, module, &config).await);
        let generation: Arc<dyn stage::Generation> = if says {
            loaded
        } else {
            Arc::new(Silent(loaded))
        };
        stages.push(StageSpec::new(format!("wasm/{number}"), generation));
    }
    let exporter = ExporterSpec {
        name: "nowhere".to_owned(),
        exporter: Arc::new(Nowhere),
        queue: QueueConfig::default(),
        batcher: None,
        retry: RetryConfig::default(),
    };
    let config = PipelineConfig {
        name: "traces".to_owned(),
        signal: Signal::Traces,
        shards: 1,
        stages,
        exporters: vec![exporter],
        ack_on: AckOn::Queue,
        limits: spandrel_wire::Limits::default(),
        durability: None,
    };
    Pipeline::build(config).await.expect("a pipeline")
}

async fn load(engine: &Engine, module: &Path, config: &str) -> Generation {
    let load = LoadRequest {
        stage: "bench",
        number: 1,
        module: module.into(),
        pinned: None,
        signature_policy: None,
        config,
        limits: InstanceLimits {
            // A machine under load is not the plugin's fault.
            call_deadline: Duration::from_secs(10),
            ..InstanceLimits::default()
        },
        compile: CompileLimits::default(),
        metrics: Arc::new(Metrics::default()),
    };
    Generation::load(engine, load).await.expect("a generation")
}

/// A backend that takes everything at once.
#[derive(Debug)]
struct Nowhere;

impl Exporter for Nowhere {
    fn export(&self, _: Signal, _: Bytes) -> BoxFuture<'_, Outcome> {
        Box::pin(std::future::ready(Outcome::Sent))
    }
}
