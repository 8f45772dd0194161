//! Seeded chaos over several lives of a durable pipeline: erratic plugins, backends and disks that
//! change their behaviour, changed exporters, kills and drains. At every check each span with an OK
//! is somewhere: at the backend, dropped or permanently refused, in quarantine, or in a log; and
//! the books balance.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{BoxFuture, join_all};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use spandrel_pipeline::batcher::BatcherConfig;
use spandrel_pipeline::egress::ExporterSpec;
use spandrel_pipeline::exporter::{Exporter, Outcome, Refuses};
use spandrel_pipeline::pipeline::{ChangeError, Pipeline, PipelineConfig};
use spandrel_pipeline::queue::Sizer;
use spandrel_pipeline::refused::Refused;
use spandrel_pipeline::stage::{
    Dispatch, Fault, FaultKind, FaultPolicy, Manifest, Reply, StageSpec,
};
use spandrel_wire::Signal;
use tokio::time::{Instant, sleep, timeout};

use super::kill;
use crate::disk::{Disk, DiskCondition};
use crate::edges::*;
use crate::seeds::seeds;

type Ids = Arc<Mutex<BTreeSet<u64>>>;

/// A backend that reacts as it is told, and remembers the spans.
#[derive(Debug, Default)]
struct ScriptedBackend {
    reaction: Mutex<Option<Reaction>>,
    taken: Ids,
    refused: Ids,
}

impl Exporter for ScriptedBackend {
    fn export(&self, _: Signal, batch: Bytes) -> BoxFuture<'_, Outcome> {
        let reaction = self.reaction.lock().unwrap().clone();
        Box::pin(async move {
            match reaction.unwrap_or(Reaction::Take) {
                Reaction::Busy => {
                    return Outcome::Retry {
                        after: None,
                        error: "busy".to_owned(),
                    };
                }
                Reaction::Refuse => {
                    self.refused.lock().unwrap().extend(ids(&batch));
                    return Outcome::Permanent {
                        refuses: Refuses::Batch,
                        error: "no".to_owned(),
                    };
                }
                Reaction::Hang => std::future::pending().await,
                Reaction::TakeAfter(delay) => sleep(delay).await,
                Reaction::Take | Reaction::Partial(_) => {}
            }
            self.taken.lock().unwrap().extend(ids(&batch));
            Outcome::Sent
        })
    }
}

/// A plugin that keeps, holds, drops and fails according to its seed, and records the spans that it
/// drops.
struct RandomPlugin {
    rng: StdRng,
    dropped: Ids,
    drops: bool,
    policy: FaultPolicy,
    faults: f64,
    /// Ticket, index and span of each held item.
    held: Vec<[u64; 3]>,
}

impl RandomPlugin {
    fn answer(&mut self, call: &Call<'_>) -> Result<Reply, Fault> {
        if self.rng.random_bool(self.faults) {
            return Err(Fault::new(FaultKind::Trap, "by chance"));
        }
        match *call {
            Call::Process(ticket, batch) => Ok(self.judge(ticket, batch)),
            Call::Tick => Ok(self.release(0.3)),
            Call::Drain(_) => Ok(self.release(0.9)),
        }
    }

    fn judge(&mut self, ticket: u64, batch: &[u8]) -> Reply {
        let mut verdicts = Vec::new();
        for (index, id) in ids(batch).into_iter().enumerate() {
            let verdict = match [0, 0, 0, 1, 1, 2][self.rng.random_range(0..6)] {
                2 if !self.drops => 0,
                verdict => verdict,
            };
            verdicts.push(verdict);
            if verdict == 1 {
                self.held.push([ticket, index as u64, id]);
            }
            // The policy may drop items that are held too long or that are too many.
            if verdict == 2 || verdict == 1 && self.policy == FaultPolicy::Drop {
                self.dropped.lock().unwrap().insert(id);
            }
        }
        Reply {
            verdicts,
            ..Reply::default()
        }
    }

    fn release(&mut self, share: f64) -> Reply {
        let mut words = Vec::new();
        self.held.retain(|&[ticket, index, id]| {
            let release = self.rng.random_bool(share);
            if release {
                let outcome = match self.drops {
                    true => [0, 0, 2, 255][self.rng.random_range(0..4)],
                    false => 0,
                };
                if outcome != 0 {
                    self.dropped.lock().unwrap().insert(id);
                }
                words.extend([ticket, index | outcome << 32]);
            }
            !release
        });
        releasing(words)
    }
}

/// Everything that outlives a process.
struct World {
    seed: u64,
    rng: StdRng,
    disk: Disk,
    backends: [Arc<ScriptedBackend>; 2],
    /// The spans that a plugin or its fault policy dropped, or possibly dropped.
    dropped: Ids,
    /// True if plugins drop, and policies may drop.
    drops: bool,
    backend_refuses: bool,
    believed: BTreeSet<u64>,
    next: u64,
    lives: u64,
    swaps: u64,
}

const NAMES: [&str; 2] = ["a", "b"];

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        Self {
            seed,
            disk: Disk::default(),
            backends: Default::default(),
            dropped: Ids::default(),
            drops: rng.random_bool(0.5),
            backend_refuses: rng.random_bool(0.3),
            believed: BTreeSet::new(),
            next: 0,
            lives: 0,
            swaps: 0,
            rng,
        }
    }

    /// Makes a stage with random behavior.
    fn erratic(&mut self, number: u64) -> StageSpec {
        let rng = &mut self.rng;
        let policies = match self.drops {
            true => vec![FaultPolicy::Pass, FaultPolicy::Drop, FaultPolicy::Refuse],
            false => vec![FaultPolicy::Pass, FaultPolicy::Refuse, FaultPolicy::Refuse],
        };
        let policy = policies[rng.random_range(0..policies.len())];
        let faults = match policy {
            // Nobody records items that are dropped because there is no instance to call.
            FaultPolicy::Drop => 0.0,
            _ => [0.0, 0.1, 0.5][rng.random_range(0..3)],
        };
        let manifest = Manifest {
            holds: true,
            dispatch: [Dispatch::Any, Dispatch::ByTrace, Dispatch::Single][rng.random_range(0..3)],
            tick_interval: Some(Duration::from_millis(rng.random_range(10..3000))),
            drop_reasons: vec!["by chance".to_owned()],
            ..Manifest::default()
        };
        let (dropped, drops) = (Arc::clone(&self.dropped), self.drops);
        let seed = self.seed ^ self.lives << 32 ^ number << 40 ^ self.swaps << 48;
        let mut spec = stage(manifest, move |instance| {
            let mut random = RandomPlugin {
                rng: StdRng::seed_from_u64(seed ^ instance as u64),
                dropped: Arc::clone(&dropped),
                drops,
                policy,
                faults,
                held: Vec::new(),
            };
            move |call| random.answer(&call)
        });
        spec.on_fault = policy;
        spec.hold.items = self.rng.random_range(10..500);
        spec
    }

    fn exporters(&mut self) -> Vec<ExporterSpec> {
        let rng = &mut self.rng;
        let mut spec = |index: usize| {
            let mut spec = exporter(&Backend::new([]), rng.random_range(1..40));
            spec.name = NAMES[index].to_owned();
            spec.exporter = Arc::clone(&self.backends[index]) as Arc<dyn Exporter>;
            spec.queue.sizer = [Sizer::Requests, Sizer::Items][rng.random_range(0..2)];
            spec.queue.num_consumers = rng.random_range(1..5);
            spec.queue.block_on_overflow = rng.random_bool(0.5);
            spec.retry.initial_interval = Duration::from_millis(300);
            spec.batcher = rng.random_bool(0.5).then(|| BatcherConfig {
                flush_timeout: Duration::from_millis(rng.random_range(1..300)),
                min_size: rng.random_range(1..100),
                max_size: [0, 17, 100][rng.random_range(0..3)],
                ..BatcherConfig::default()
            });
            spec
        };
        vec![spec(0), spec(1)]
    }

    fn config(&mut self) -> PipelineConfig {
        let stages = (0..self.rng.random_range(0..3)).map(|number| self.erratic(number));
        let stages = stages.collect();
        let mut config = config(stages, self.exporters());
        config.shards = self.rng.random_range(1..4);
        config.durability = Some(self.disk.open());
        config
    }

    /// Changes to other plugins, for which the pipeline may have no place, or no time.
    async fn change(&mut self, pipeline: &Pipeline) {
        self.swaps += 1;
        let stages = (0..self.rng.random_range(0..3)).map(|number| self.erratic(number));
        let stages = config(stages.collect(), Vec::new()).stages;
        match pipeline.change(stages).await {
            Ok(_) | Err(ChangeError::Busy) => {}
            Err(other) => panic!("seed {}: {other}", self.seed),
        }
    }

    fn turn_mood(&mut self) {
        let rng = &mut self.rng;
        let mut often = |often: f64| rng.random_bool(often);
        let condition = DiskCondition {
            delay: Duration::ZERO,
            ingress_full: often(0.2),
            egress_full: often(0.3),
            unreadable: often(0.2),
            quarantine_full: often(0.3),
            egress_bytes: often(0.3).then_some(3000),
            ..DiskCondition::default()
        };
        let delay = Duration::from_millis(rng.random_range(0..50));
        self.disk
            .set(|now| *now = DiskCondition { delay, ..condition });
    }

    fn turn_backend(&mut self) {
        let delay = Duration::from_millis(self.rng.random_range(1..3000));
        let reaction = match self.rng.random_range(0..10) {
            0..3 => Reaction::Take,
            3..5 => Reaction::TakeAfter(delay),
            5 if self.backend_refuses => Reaction::Refuse,
            6 => Reaction::Hang,
            _ => Reaction::Busy,
        };
        let backend = &self.backends[self.rng.random_range(0..2)];
        *backend.reaction.lock().unwrap() = Some(reaction);
    }

    /// Sends a few batches at once; some senders go away before their answer.
    async fn send(&mut self, pipeline: &Pipeline) {
        let mut offers = Vec::new();
        for _ in 0..self.rng.random_range(1..5) {
            let items = self.rng.random_range(1..40);
            let all = self.next..self.next + items;
            self.next += items;
            let batch = traced(all.clone().map(|id| (id / 7, id)));
            let patience = match self.rng.random_range(0..5) {
                0 => Duration::from_millis(self.rng.random_range(0..40)),
                _ => Duration::from_secs(100),
            };
            offers.push(async move { (all, timeout(patience, offer(pipeline, batch)).await) });
        }
        for (ids, answer) in join_all(offers).await {
            match answer {
                Ok(Ok(())) => self.believed.extend(ids),
                Err(_) | Ok(Err(Refused::Full { .. } | Refused::Unwritten { .. })) => {}
                Ok(Err(other)) => panic!("seed {}: {other}", self.seed),
            }
        }
    }

    /// Checks that every span with an OK is somewhere, for each exporter.
    fn look(&self, pipeline: &str) {
        let seed = self.seed;
        let mut safe: BTreeSet<u64> = self.disk.ingress().into_iter().collect();
        safe.extend(self.dropped.lock().unwrap().iter());
        let quarantine = self.disk.quarantine();
        safe.extend(quarantine.iter().flat_map(|poison| ids(&poison.request)));
        for (backend, name) in self.backends.iter().zip(NAMES) {
            let mut safe = safe.clone();
            safe.extend(backend.taken.lock().unwrap().iter());
            safe.extend(backend.refused.lock().unwrap().iter());
            safe.extend(self.disk.egress(name));
            let lost: Vec<_> = self.believed.difference(&safe).collect();
            assert!(
                lost.is_empty(),
                "seed {seed}: {lost:?} lost for {name}: {pipeline}"
            );
        }
    }

    /// Runs one process: builds it, lets it work, and ends it by a kill or a drain.
    async fn live(&mut self) {
        let seed = self.seed;
        self.lives += 1;
        let config = self.config();
        let pipeline = Pipeline::build(config).await.unwrap();
        let ledger = Arc::clone(pipeline.ledger());
        for _ in 0..self.rng.random_range(0..30) {
            match self.rng.random_range(0..12) {
                0 => self.turn_mood(),
                1 | 2 => self.turn_backend(),
                3 => self.disk.checkpoint(),
                4 if self.rng.random_bool(0.3) => pipeline.set_exporters(self.exporters()),
                5 if self.rng.random_bool(0.3) => self.change(&pipeline).await,
                _ => self.send(&pipeline).await,
            }
            assert!(ledger.books().is_balanced(), "seed {seed}: {ledger}");
            self.look(&ledger.to_string());
            let pause = [10, 100, 5000][self.rng.random_range(0..3)];
            sleep(Duration::from_millis(self.rng.random_range(0..pause))).await;
        }
        self.look(&ledger.to_string());
        if self.rng.random_bool(0.5) {
            kill(&self.disk, pipeline).await;
        } else {
            let drained = pipeline
                .drain(Instant::now() + Duration::from_secs(25))
                .await;
            let on_disk = NAMES.iter().map(|name| self.disk.egress(name).len());
            let on_disk = self.disk.ingress().len() + on_disk.sum::<usize>();
            assert_eq!(drained.kept, on_disk as u64, "seed {seed}: {ledger}");
        }
        let books = ledger.books();
        assert!(
            books.is_balanced() && books.is_settled(),
            "seed {seed}: {ledger}"
        );
        assert_eq!(books.abandoned(), 0, "seed {seed}: {ledger}");
        self.look(&ledger.to_string());
    }

    /// Runs a last process in which everything works, and checks that nothing is left.
    async fn end(&mut self) {
        let seed = self.seed;
        self.disk
            .set(|condition| *condition = DiskCondition::default());
        for backend in &self.backends {
            *backend.reaction.lock().unwrap() = None;
        }
        let mut config = config(vec![], self.exporters());
        config.durability = Some(self.disk.open());
        let pipeline = Pipeline::build(config).await.unwrap();
        let ledger = Arc::clone(pipeline.ledger());
        sleep(Duration::from_secs(300)).await;
        let drained = drain(pipeline).await;
        assert_eq!(drained.kept, 0, "seed {seed}: {ledger}");
        assert_eq!(self.disk.ingress(), [], "seed {seed}: {ledger}");
        self.look(&ledger.to_string());
    }
}

async fn run(seed: u64) {
    let mut world = World::new(seed);
    for _ in 0..world.rng.random_range(1..6) {
        world.live().await;
    }
    world.end().await;
}

/// Whatever plugins, backends, disks and processes do, a span with an OK is not lost, and every
/// item is accounted for.
#[tokio::test(start_paused = true)]
async fn what_has_an_ok_is_not_lost() {
    for seed in seeds() {
        run(seed).await;
    }
}
