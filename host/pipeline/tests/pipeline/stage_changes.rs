//! Seeded changes: the stages of a pipeline are changed over and over while senders run, with
//! plugins that fail in every kind of call, and a drain comes at a random moment, possibly in the
//! middle of a change. The books must balance at every check, and the backend must have the items
//! that the books show.

mod duplicates;
mod random_plugin;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use spandrel_pipeline::ingress::Ingress;
use spandrel_pipeline::ledger::Books;
use spandrel_pipeline::pipeline::{ChangeError, Pipeline};
use spandrel_pipeline::refused::Refused;
use spandrel_pipeline::stage::{Candidate, FaultPolicy, Generation, Mode, Share, StageSpec};
use spandrel_wire::Signal;
use tokio::task::JoinSet;
use tokio::time::Instant;

use self::random_plugin::Temper;
use crate::edges::*;
use crate::seeds::seeds;

/// The source of the changes: the current stages, and the way to make new ones.
struct Rebel {
    seed: u64,
    rng: StdRng,
    row: Vec<StageSpec>,
    /// Generations that ran once, by the stage's name.
    before: Vec<(String, Arc<dyn Generation>)>,
    made: u64,
    temper: Temper,
    policies: Vec<FaultPolicy>,
}

impl Rebel {
    fn new(seed: u64, rng: &mut StdRng) -> Self {
        let policies = if rng.random_bool(0.5) {
            vec![FaultPolicy::Pass, FaultPolicy::Drop]
        } else {
            vec![FaultPolicy::Pass, FaultPolicy::Drop, FaultPolicy::Refuse]
        };
        let mut rebel = Self {
            seed,
            rng: StdRng::seed_from_u64(seed ^ 0x5eed),
            row: Vec::new(),
            before: Vec::new(),
            made: 0,
            temper: Temper::of(rng),
            policies,
        };
        for _ in 0..rng.random_range(0..4) {
            rebel.add();
        }
        rebel
    }

    fn generation(&mut self) -> Arc<dyn Generation> {
        self.made += 1;
        random_plugin::generation(self.seed << 16, self.made, self.temper, &mut self.rng)
    }

    fn add(&mut self) {
        let name = format!("stage {}", self.rng.random_range(0..5));
        if self.row.iter().any(|spec| spec.name == name) {
            return;
        }
        let mut spec = StageSpec::new(name, self.generation());
        spec.on_fault = self.policies[self.rng.random_range(0..self.policies.len())];
        spec.hold.items = self.rng.random_range(10..500);
        let place = self.rng.random_range(0..=self.row.len());
        self.row.insert(place, spec);
    }

    /// Changes one thing about the row.
    fn change(&mut self) {
        if self.row.is_empty() {
            return self.add();
        }
        let place = self.rng.random_range(0..self.row.len());
        let generation = self.generation();
        let spec = &mut self.row[place];
        let share = Share::from_percent(self.rng.random_range(1.0..100.0)).unwrap();
        let running = Arc::clone(&spec.generation);
        match self.rng.random_range(0..12) {
            0..3 => {
                spec.generation = generation;
                spec.candidate = None;
                spec.on_probation = self.rng.random_bool(0.8);
                self.before.push((spec.name.clone(), running));
            }
            3 => {
                let known = self
                    .before
                    .iter()
                    .rev()
                    .find(|(name, _)| *name == spec.name);
                if let Some((_, generation)) = known {
                    spec.generation = Arc::clone(generation);
                    spec.candidate = None;
                }
            }
            4 => drop(self.row.remove(place)),
            5 => self.add(),
            6 => self.row.shuffle(&mut self.rng),
            7 | 8 => {
                let mode = Mode::Canary(share);
                spec.candidate = Some(Candidate { generation, mode });
            }
            9 => {
                let mode = Mode::Shadow;
                spec.candidate = Some(Candidate { generation, mode });
            }
            10 => match spec.candidate.take() {
                Some(beside) if self.rng.random_bool(0.5) => {
                    spec.generation = beside.generation;
                    spec.on_probation = true;
                    self.before.push((spec.name.clone(), running));
                }
                _ => {}
            },
            _ => match &mut spec.candidate {
                Some(Candidate {
                    mode: Mode::Canary(old),
                    ..
                }) => *old = share,
                _ => spec.hold.items = self.rng.random_range(1..500),
            },
        }
    }
}

/// Returns the names and generations of a row.
fn outline(row: &[StageSpec]) -> Vec<(String, *const ())> {
    let outline = |spec: &StageSpec| (spec.name.clone(), Arc::as_ptr(&spec.generation).cast());
    row.iter().map(outline).collect()
}

/// Sends batches until the pipeline drains.
async fn sender(
    pipeline: impl Ingress,
    mut rng: StdRng,
    next: Arc<AtomicU64>,
    believed: Arc<AtomicU64>,
) {
    for _ in 0..200 {
        let items = rng.random_range(1..40);
        let first = next.fetch_add(items, Ordering::Relaxed);
        let batch = traced((first..first + items).map(|id| (id / 7, id)));
        match pipeline.offer(Signal::Traces, batch).await {
            Ok(_) => drop(believed.fetch_add(items, Ordering::Relaxed)),
            Err(Refused::Draining) => return,
            Err(Refused::Full { .. } | Refused::Fault { .. } | Refused::Quarantined { .. }) => {}
            Err(other) => panic!("{other}"),
        }
        tokio::time::sleep(Duration::from_millis(rng.random_range(0..100))).await;
    }
}

/// Makes one change, which may be completed, given up in the middle, or refused.
async fn upheave(pipeline: &Pipeline, rebel: &mut Rebel) {
    let seed = rebel.seed;
    let before = pipeline.stages().await;
    rebel.row.clone_from(&before);
    for _ in 0..rebel.rng.random_range(1..4) {
        rebel.change();
    }
    let patience = match rebel.rng.random_range(0..4) {
        0 => Duration::from_micros(rebel.rng.random_range(0..3000)),
        _ => Duration::from_secs(60),
    };
    let changed = tokio::time::timeout(patience, pipeline.change(rebel.row.clone())).await;
    let after = outline(&pipeline.stages().await);
    match changed {
        Ok(Ok(_)) => assert_eq!(after, outline(&rebel.row), "seed {seed}"),
        Ok(Err(ChangeError::Busy | ChangeError::Instantiate { .. })) => {
            assert_eq!(after, outline(&before), "seed {seed}");
        }
        Ok(Err(other)) => panic!("seed {seed}: {other}"),
        Err(_) => assert!(
            [&before, &rebel.row]
                .iter()
                .any(|row| outline(row) == after),
            "seed {seed}: half a change"
        ),
    }
}

async fn run(seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let backend = Backend::new(reactions(&mut rng));
    let mut spec = exporter(&backend, rng.random_range(1..200));
    spec.queue.num_consumers = rng.random_range(1..5);
    spec.retry.initial_interval = Duration::from_millis(200);
    let mut rebel = Rebel::new(seed, &mut rng);
    let mut config = config(Vec::new(), vec![spec]);
    config.stages.clone_from(&rebel.row);
    config.shards = rng.random_range(1..4);
    let pipeline = Pipeline::build(config).await;
    // Some plugins allow only a few instances.
    let Ok(pipeline) = pipeline else { return };
    let ledger = Arc::clone(pipeline.ledger());
    let (next, believed) = <(Arc<AtomicU64>, Arc<AtomicU64>)>::default();
    let mut senders = JoinSet::new();
    for n in 0..rng.random_range(1..4) {
        let rng = StdRng::seed_from_u64(seed ^ n << 40);
        senders.spawn(sender(
            pipeline.ingress(),
            rng,
            Arc::clone(&next),
            Arc::clone(&believed),
        ));
    }
    let stop = Instant::now() + Duration::from_millis(rng.random_range(0..5000));
    let changes = async {
        loop {
            upheave(&pipeline, &mut rebel).await;
            assert!(ledger.books().is_balanced(), "seed {seed}: {ledger}");
            tokio::time::sleep(Duration::from_millis(rebel.rng.random_range(0..200))).await;
        }
    };
    drop(tokio::time::timeout_at(stop, changes).await);
    let drained = pipeline
        .drain(Instant::now() + Duration::from_secs(25))
        .await;
    senders.join_all().await;
    let books = ledger.books();
    let [offered, believed] = [next, believed].map(|count| count.load(Ordering::Relaxed));
    assert!(books.received <= offered, "seed {seed}");
    let accepted = books.received - books.refused;
    assert!(accepted >= believed, "seed {seed}: accepted, then refused");
    if drained.in_time {
        assert_eq!(books.abandoned(), 0, "seed {seed}: {ledger}");
    }
    check(&rebel, &books, &backend.taken(), drained.in_time);
}

/// Checks the books after the drain against the items that the backend took.
fn check(rebel: &Rebel, books: &Books, taken: &[u64], in_time: bool) {
    let seed = rebel.seed;
    assert!(
        books.is_balanced() && books.is_settled(),
        "seed {seed}: {books}"
    );
    let sent = books.exporters[0].sent;
    assert_eq!(sent, taken.len() as u64, "seed {seed}: {books}");
    let twice = taken.windows(2).any(|pair| pair[0] == pair[1]);
    assert!(!twice, "seed {seed}: sent twice");
    for stage in &books.stages {
        let is = format!("seed {seed}: {stage:?}");
        assert_eq!((stage.held, stage.held_bytes), (0, 0), "{is}");
        if stage.position.is_none() {
            assert_eq!((stage.breakers_open, stage.quarantined), (0, 0), "{is}");
        }
        if rebel.temper.is_even() {
            assert_eq!((stage.faults, stage.restarts), ([0; 4], 0), "{is}");
        }
        if in_time && !rebel.policies.contains(&FaultPolicy::Refuse) {
            let left = stage.output + stage.dropped_total();
            assert_eq!(stage.input, left, "{is}");
        }
    }
}

fn reactions(rng: &mut StdRng) -> Vec<Reaction> {
    let mut reaction = |_| match rng.random_range(0..10) {
        0..5 => Reaction::Take,
        5..8 => Reaction::TakeAfter(Duration::from_millis(rng.random_range(1..2000))),
        8 => Reaction::Busy,
        _ => Reaction::Refuse,
    };
    let mut script = (0..50).map(&mut reaction).collect::<Vec<_>>();
    script.push(Reaction::Take);
    script
}

/// Whatever is changed, at any time, with any plugins, every item is accounted for, nothing arrives
/// twice, a drain that ended in time abandons nothing, and a change is either made or not made.
#[tokio::test(start_paused = true)]
async fn every_item_is_accounted_for_through_upheaval() {
    for seed in seeds() {
        run(seed).await;
    }
}
