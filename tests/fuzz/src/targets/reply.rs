//! For any answers of a plugin, to batches, ticks and drains, the pipeline's output is valid, and
//! every item is accounted for. Each input runs a whole pipeline, on a paused clock.

mod plugin;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use prost::Message;
use spandrel_pipeline::backoff::RetryConfig;
use spandrel_pipeline::egress::ExporterSpec;
use spandrel_pipeline::exporter::{Exporter, Outcome};
use spandrel_pipeline::ingress::Ingress;
use spandrel_pipeline::pipeline::{AckOn, Pipeline, PipelineConfig};
use spandrel_pipeline::queue::QueueConfig;
use spandrel_pipeline::stage::{FaultPolicy, HoldLimits, StageSpec};
use spandrel_wire::{Limits, Signal, validate};
use tokio::runtime::{Builder, Runtime};
use tokio::time::Instant;

use self::plugin::Scripted;
use crate::dice::Dice;
use crate::mess::mess_up;
use crate::requests::traces;

thread_local! {
    static RUNTIME: Runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
}

/// Runs one input. A third of the bytes decides the requests, the rest the plugins' answers.
pub(crate) fn run(input: &[u8]) {
    RUNTIME.with(|runtime| runtime.block_on(check(Dice::new(input.to_vec()))));
}

async fn check(mut dice: Dice) {
    let batches = requests(&mut dice.fork(1500));
    let stages = (0..=dice.roll(2)).map(|number| stage(&mut dice, number));
    let config = PipelineConfig {
        name: "traces".to_owned(),
        signal: Signal::Traces,
        shards: 1,
        stages: stages.collect(),
        exporters: vec![exporter()],
        ack_on: AckOn::Queue,
        limits: Limits::default(),
        durability: None,
    };
    let pipeline = Pipeline::build(config).await.unwrap();
    for batch in batches {
        // The request may be refused: the ledger shows it.
        drop(pipeline.ingress().offer(Signal::Traces, batch).await);
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    let ledger = Arc::clone(pipeline.ledger());
    let deadline = Instant::now() + Duration::from_secs(25);
    let drained = pipeline.drain(deadline).await;
    let books = ledger.books();
    assert!(drained.in_time, "{ledger}");
    assert!(books.is_balanced() && books.is_settled(), "{ledger}");
}

fn requests(dice: &mut Dice) -> Vec<Bytes> {
    let mut mess = dice.fork(100);
    let mut make = |dice: &mut Dice| mess_up(&mut mess, &traces(dice).encode_to_vec()).into();
    (0..=dice.roll(4))
        .map(|_| make(&mut dice.fork(500)))
        .collect()
}

fn stage(dice: &mut Dice, number: usize) -> StageSpec {
    let scripted = Scripted::new(dice.fork(600));
    let mut spec = StageSpec::new(format!("stage/{number}"), Arc::new(scripted));
    spec.on_fault = match dice.roll(3) {
        0 => FaultPolicy::Pass,
        1 => FaultPolicy::Drop,
        _ => FaultPolicy::Refuse,
    };
    if dice.once_in(4) {
        spec.hold = HoldLimits {
            items: 3,
            bytes: 1000,
            time: Duration::from_millis(50),
        };
    }
    spec
}

fn exporter() -> ExporterSpec {
    ExporterSpec {
        name: "backend".to_owned(),
        exporter: Arc::new(Backend),
        queue: QueueConfig::default(),
        batcher: None,
        retry: RetryConfig::default(),
    }
}

/// An exporter that checks that every batch is valid and has items.
#[derive(Debug)]
struct Backend;

impl Exporter for Backend {
    fn export(&self, signal: Signal, batch: Bytes) -> BoxFuture<'_, Outcome> {
        let valid = validate(signal, &batch, &Limits::NONE);
        assert!(valid.is_ok_and(|summary| summary.items > 0));
        Box::pin(std::future::ready(Outcome::Sent))
    }
}
