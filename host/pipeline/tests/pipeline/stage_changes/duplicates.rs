//! Tests of a stage with a state among stages that come and go: its state is never lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use spandrel_pipeline::ingress::Ingress;
use spandrel_pipeline::pipeline::Pipeline;
use spandrel_pipeline::stage::{Dispatch, Mode, Share};
use spandrel_wire::Signal;
use tokio::task::JoinSet;

use crate::edges::*;
use crate::seeds::seeds;
use crate::stateful_plugin::{StatefulPlugin, swapped, with_candidate};

/// Sends new spans, and with them some of those that were sent before.
async fn sender(pipeline: impl Ingress, mut rng: StdRng, next: Arc<AtomicU64>) {
    for _ in 0..60 {
        let new = next.fetch_add(5, Ordering::Relaxed);
        let old = (0..5).map(|_| rng.random_range(0..=new));
        let mut ids: Vec<u64> = (new..new + 5).chain(old).collect();
        ids.shuffle(&mut rng);
        let batch = traced(ids.into_iter().map(|id| (id / 3, id)));
        pipeline.offer(Signal::Traces, batch).await.unwrap();
        tokio::time::sleep(Duration::from_millis(rng.random_range(0..50))).await;
    }
}

/// Runs a stage that drops duplicates, among others that come and go.
async fn run_deduplicating(seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let backend = Backend::new([]);
    let holds = rng.random_bool(0.3);
    let plugin = |number| StatefulPlugin {
        number,
        dedups: true,
        dispatch: Dispatch::ByTrace,
        holds: holds.then_some(|id| id % 3 == 0),
        releases_on: number * 5,
        ..StatefulPlugin::default()
    };
    // A stage behind that holds must not move in front: its items would go through the stage again.
    let reorders = rng.random_bool(0.5);
    let other = if reorders {
        StatefulPlugin::default()
    } else {
        StatefulPlugin::holding(1)
    };
    let mut specs = vec![plugin(1).stage("dedup")];
    let mut config = config(specs.clone(), vec![exporter(&backend, 1000)]);
    config.shards = rng.random_range(1..4);
    let pipeline = Pipeline::build(config).await.unwrap();
    let next = Arc::new(AtomicU64::new(0));
    let mut senders = JoinSet::new();
    for n in 0..3 {
        let rng = StdRng::seed_from_u64(seed ^ n << 40);
        senders.spawn(sender(pipeline.ingress(), rng, Arc::clone(&next)));
    }
    for number in 2..30 {
        let place = specs.iter().position(|spec| spec.name == "dedup").unwrap();
        let generation = plugin(number).generation();
        let running = Arc::clone(&specs[place].generation);
        let mode = match rng.random_bool(0.5) && !holds {
            true => Mode::Canary(Share::from_percent(30.0).unwrap()),
            false => Mode::Shadow,
        };
        match rng.random_range(0..6) {
            0 | 1 => specs[place] = swapped(&specs[place], &generation),
            2 => specs[place] = with_candidate(&specs[place], &generation, mode),
            3 => {
                let candidate = specs[place].candidate.take();
                let promoted = candidate.filter(|_| rng.random_bool(0.5));
                specs[place].generation = promoted.map_or(running, |beside| beside.generation);
            }
            4 if specs.len() == 1 => specs.insert(rng.random_range(0..2), other.stage("other")),
            4 => drop(specs.remove(1 - place)),
            _ if reorders => specs.reverse(),
            _ => {}
        }
        pipeline.change(specs.clone()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(rng.random_range(0..100))).await;
    }
    senders.join_all().await;
    let ledger = Arc::clone(pipeline.ledger());
    drain(pipeline).await;
    let all: Vec<u64> = (0..next.load(Ordering::Relaxed)).collect();
    assert_eq!(backend.taken().len(), all.len(), "seed {seed}: {ledger}");
    assert_eq!(backend.taken(), all, "seed {seed}: {ledger}");
    let books = ledger.books();
    assert!(
        books.stages.iter().all(|stage| stage.faults == [0; 4]),
        "seed {seed}"
    );
}

/// A stage that drops duplicates keeps its state through every change: each span arrives once,
/// however often it was sent.
#[tokio::test(start_paused = true)]
async fn every_duplicate_is_recognised_through_upheaval() {
    for seed in seeds() {
        run_deduplicating(seed).await;
    }
}
