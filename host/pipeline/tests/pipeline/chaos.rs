//! Seeded chaos: random plugins, backends and senders, with a drain at a random moment. The books
//! must balance at every check, and the backends must have the items that the books show.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use spandrel_pipeline::batcher::BatcherConfig;
use spandrel_pipeline::pipeline::Pipeline;
use spandrel_pipeline::queue::Sizer;
use spandrel_pipeline::refused::Refused;
use spandrel_pipeline::stage::{
    Dispatch, Fault, FaultKind, FaultPolicy, Manifest, Reply, StageSpec,
};
use tokio::time::Instant;

use crate::edges::*;
use crate::seeds::seeds;

/// Makes a plugin that keeps, drops, holds, releases and fails according to its seed.
fn erratic(seed: u64, rng: &mut StdRng) -> StageSpec {
    let faults = if rng.random_bool(0.5) { 0.05 } else { 0.0 };
    let dispatch = [Dispatch::Any, Dispatch::ByTrace, Dispatch::Single][rng.random_range(0..3)];
    let manifest = Manifest {
        holds: true,
        dispatch,
        tick_interval: Some(Duration::from_millis(rng.random_range(10..500))),
        drop_reasons: vec!["by chance".to_owned()],
        ..Manifest::default()
    };
    let mut spec = stage(manifest, move |instance| {
        let mut rng = StdRng::seed_from_u64(seed ^ instance as u64);
        let mut held: Vec<[u64; 2]> = Vec::new();
        move |call| {
            if rng.random_bool(faults) {
                return Err(Fault::new(FaultKind::Trap, "by chance"));
            }
            let share = match call {
                Call::Process(ticket, batch) => {
                    let judge = |index: usize| {
                        let verdict = [0, 0, 0, 1, 1, 2][rng.random_range(0..6)];
                        if verdict == 1 {
                            held.push([ticket, index as u64]);
                        }
                        verdict
                    };
                    let verdicts = (0..ids(batch).len()).map(judge).collect();
                    return Ok(Reply {
                        verdicts,
                        ..Reply::default()
                    });
                }
                Call::Tick => 0.5,
                Call::Drain(_) => 1.0,
            };
            let mut words = Vec::new();
            held.retain(|&[ticket, index]| {
                let release = rng.random_bool(share);
                if release {
                    let outcome = [0, 0, 2, 255][rng.random_range(0..4)];
                    words.extend([ticket, index | outcome << 32]);
                }
                !release
            });
            Ok(releasing(words))
        }
    });
    spec.on_fault =
        [FaultPolicy::Pass, FaultPolicy::Drop, FaultPolicy::Refuse][rng.random_range(0..3)];
    spec.hold.items = rng.random_range(10..500);
    spec
}

fn reactions(rng: &mut StdRng) -> Vec<Reaction> {
    let mut reaction = |_| match rng.random_range(0..10) {
        0..4 => Reaction::Take,
        4..7 => Reaction::TakeAfter(Duration::from_millis(rng.random_range(1..2000))),
        7..9 => Reaction::Busy,
        _ => Reaction::Refuse,
    };
    let mut script = (0..50).map(&mut reaction).collect::<Vec<_>>();
    script.push(Reaction::Take);
    script
}

async fn run(seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let backend = Backend::new(reactions(&mut rng));
    let mut spec = exporter(&backend, rng.random_range(1..200));
    spec.queue.sizer = [Sizer::Requests, Sizer::Items, Sizer::Bytes][rng.random_range(0..3)];
    spec.queue.num_consumers = rng.random_range(1..5);
    spec.retry.initial_interval = Duration::from_millis(200);
    spec.batcher = rng.random_bool(0.5).then(|| BatcherConfig {
        flush_timeout: Duration::from_millis(rng.random_range(1..300)),
        min_size: rng.random_range(1..100),
        max_size: [0, 17, 100][rng.random_range(0..3)],
        ..BatcherConfig::default()
    });
    let stages = (0..rng.random_range(0..4))
        .map(|n| erratic(seed << 8 | n, &mut rng))
        .collect::<Vec<_>>();
    let mut config = config(stages, vec![spec]);
    config.shards = rng.random_range(1..4);
    let pipeline = Pipeline::build(config).await.unwrap();
    let ledger = std::sync::Arc::clone(pipeline.ledger());

    let (mut offered, mut believed) = (0, 0);
    for _ in 0..rng.random_range(1..60) {
        let items = rng.random_range(1..40);
        let batch = traced((offered..offered + items).map(|id| (id / 7, id)));
        offered += items;
        match offer(&pipeline, batch).await {
            Ok(()) => believed += items,
            Err(Refused::Full { .. } | Refused::Fault { .. } | Refused::Quarantined { .. }) => {}
            Err(other) => panic!("seed {seed}: {other}"),
        }
        assert!(ledger.books().is_balanced(), "seed {seed}: {ledger}");
        tokio::time::sleep(Duration::from_millis(rng.random_range(0..100))).await;
    }
    let deadline = Instant::now() + Duration::from_secs(25);
    let drained = pipeline.drain(deadline).await;
    let books = ledger.books();
    assert!(
        books.is_balanced() && books.is_settled(),
        "seed {seed}: {ledger}"
    );
    assert_eq!(books.received, offered, "seed {seed}");
    assert!(
        offered - books.refused >= believed,
        "seed {seed}: accepted items were refused"
    );
    let taken = backend.taken();
    assert_eq!(
        books.exporters[0].sent,
        taken.len() as u64,
        "seed {seed}: {ledger}"
    );
    assert!(
        taken.windows(2).all(|pair| pair[0] != pair[1]),
        "seed {seed}: sent twice"
    );
    if drained.in_time {
        assert_eq!(books.abandoned(), 0, "seed {seed}: {ledger}");
    }
}

/// Whatever plugins, backends and senders do, every item is accounted for, nothing arrives twice,
/// and a drain that ended in time abandons nothing.
#[tokio::test(start_paused = true)]
async fn every_item_is_accounted_for() {
    for seed in seeds() {
        run(seed).await;
    }
}
