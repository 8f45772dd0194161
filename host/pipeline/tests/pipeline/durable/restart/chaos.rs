//! Seeded lives of a pipeline that drops duplicates and samples whole traces, each ended by a stop
//! or a kill. No span with an OK is lost, no trace is torn, and spans that were sent before a clean
//! stop are known after it.
//!
//! The sampler does not fail: a stage that drops duplicates in front of one with `on_fault: refuse`
//! drops the retries in the same process, with or without a restart. The pipeline warns of that
//! order when it is built.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use spandrel_pipeline::pipeline::{Pipeline, PipelineConfig};
use spandrel_pipeline::stage::{Dispatch, FaultPolicy};
use tokio::time::{Instant, sleep};

use super::sampler::{SPANS, Sampler, is_kept};
use crate::disk::{Disk, DiskCondition};
use crate::durable::{kill, on};
use crate::edges::*;
use crate::seeds::seeds;
use crate::stateful_plugin::StatefulPlugin;

struct World {
    seed: u64,
    rng: StdRng,
    disk: Disk,
    backend: Arc<Backend>,
    sampler: Sampler,
    /// True if there are only clean stops and no failures; then nothing comes twice.
    calm: bool,
    shards: usize,
    believed: BTreeSet<u64>,
    /// The spans that were sent, but perhaps not accepted.
    unsent: Vec<u64>,
    next: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        Self {
            seed,
            disk: Disk::default(),
            backend: Backend::new([]),
            sampler: Sampler::default(),
            calm: rng.random_bool(0.5),
            shards: rng.random_range(1..4),
            believed: BTreeSet::new(),
            unsent: Vec::new(),
            next: 0,
            rng,
        }
    }

    fn config(&mut self) -> PipelineConfig {
        let plugin = StatefulPlugin {
            dedups: true,
            dispatch: Dispatch::ByTrace,
            ..StatefulPlugin::default()
        };
        let mut sampler = self.sampler.clone();
        if !self.calm {
            sampler.refuses = self.rng.random_bool(0.2);
            if self.rng.random_bool(0.1) {
                self.shards = self.rng.random_range(1..4);
            }
        }
        let mut second = sampler.stage();
        second.on_fault = FaultPolicy::Refuse;
        let mut config = on(&self.disk, vec![], &self.backend, 20);
        config.stages = vec![plugin.stage("dedup"), second];
        config.shards = self.shards;
        config
    }

    /// Sends spans of new traces and of incomplete ones, and some that were sent before.
    async fn send(&mut self, pipeline: &Pipeline) {
        for _ in 0..self.rng.random_range(0..3) {
            self.unsent.extend(self.next..self.next + SPANS);
            self.next += SPANS;
        }
        self.unsent.shuffle(&mut self.rng);
        let keep = self.rng.random_range(0..=self.unsent.len());
        let mut batch = self.unsent.split_off(keep);
        let fresh = batch.clone();
        let old: Vec<u64> = self.believed.iter().copied().collect();
        for _ in 0..self.rng.random_range(0..4) {
            batch.extend(old.get(self.rng.random_range(0..old.len().max(1))));
        }
        if batch.is_empty() {
            return;
        }
        let request = traced(batch.iter().map(|id| (id / SPANS, *id)));
        match offer(pipeline, request).await {
            Ok(()) => self.believed.extend(batch),
            Err(_) => self.unsent.extend(fresh),
        }
    }

    fn turn(&mut self) {
        let busy = self.rng.random_bool(0.4);
        self.backend
            .react(if busy { Reaction::Busy } else { Reaction::Take });
        if !self.calm {
            let mut often = |often| self.rng.random_bool(often);
            let condition = DiskCondition {
                ingress_full: often(0.1),
                egress_full: often(0.2),
                handover_full: often(0.1),
                ..DiskCondition::default()
            };
            self.disk.set(|now| *now = condition);
        }
    }

    /// Checks that every span with an OK is somewhere. A span that was dropped as a duplicate must
    /// be somewhere else.
    fn look(&self, when: &str) {
        let seed = self.seed;
        let mut safe: BTreeSet<u64> = self.disk.ingress().into_iter().collect();
        safe.extend(self.backend.taken());
        safe.extend(self.disk.egress("backend"));
        let quarantine = self.disk.quarantine();
        safe.extend(quarantine.iter().flat_map(|poison| ids(&poison.request)));
        let dropped = self.sampler.dropped.lock().unwrap();
        if self.calm {
            let torn: Vec<_> = dropped.iter().filter(|trace| is_kept(**trace)).collect();
            assert!(torn.is_empty(), "seed {seed}: {torn:?} torn, {when}");
        }
        let lost = self.believed.difference(&safe);
        let lost: Vec<_> = lost
            .filter(|id| !dropped.contains(&(*id / SPANS)))
            .collect();
        assert!(lost.is_empty(), "seed {seed}: {lost:?} lost, {when}");
    }

    async fn live(&mut self) {
        let seed = self.seed;
        let config = self.config();
        let pipeline = Pipeline::build(config).await.unwrap();
        let ledger = Arc::clone(pipeline.ledger());
        let unused = ledger.books().unused_handovers;
        assert!(!self.calm || unused == 0, "seed {seed}: {ledger}");
        for _ in 0..self.rng.random_range(0..12) {
            match self.rng.random_range(0..6) {
                0 => self.turn(),
                1 => self.disk.checkpoint(),
                _ => self.send(&pipeline).await,
            }
            assert!(ledger.books().is_balanced(), "seed {seed}: {ledger}");
            self.look("in a life");
            sleep(Duration::from_millis(self.rng.random_range(0..800))).await;
        }
        if !self.calm && self.rng.random_bool(0.5) {
            kill(&self.disk, pipeline).await;
        } else {
            drain(pipeline).await;
        }
        assert_eq!(ledger.books().abandoned(), 0, "seed {seed}: {ledger}");
        self.look("after a life");
    }

    /// Runs a last process in which everything works, and every trace becomes whole.
    async fn end(mut self) {
        let seed = self.seed;
        self.disk
            .set(|condition| *condition = DiskCondition::default());
        self.backend.react(Reaction::Take);
        self.calm = true;
        let config = self.config();
        let pipeline = Pipeline::build(config).await.unwrap();
        // This is less than the limit on hold time, at which a stage is asked to let go.
        sleep(Duration::from_secs(20)).await;
        let rest = std::mem::take(&mut self.unsent);
        if !rest.is_empty() {
            let request = traced(rest.iter().map(|id| (id / SPANS, *id)));
            offer(&pipeline, request).await.unwrap();
        }
        sleep(Duration::from_secs(5)).await;
        pipeline
            .retire(Instant::now() + Duration::from_secs(25))
            .await;
        assert_eq!(self.disk.ingress(), [], "seed {seed}");
    }
}

async fn run(seed: u64) {
    let mut world = World::new(seed);
    for _ in 0..world.rng.random_range(1..6) {
        world.live().await;
    }
    let (calm, backend, next) = (world.calm, Arc::clone(&world.backend), world.next);
    world.end().await;
    if !calm {
        return;
    }
    let mut taken = BTreeMap::<u64, u64>::new();
    backend
        .taken()
        .into_iter()
        .for_each(|id| *taken.entry(id).or_default() += 1);
    for trace in 0..next / SPANS {
        let wanted = u64::from(is_kept(trace));
        for span in trace * SPANS..(trace + 1) * SPANS {
            let came = taken.remove(&span).unwrap_or_default();
            assert_eq!(came, wanted, "seed {seed}: span {span} of trace {trace}");
        }
    }
}

/// Over lives that end in any way, no span is lost. If all of them ended cleanly, each trace comes
/// in whole, once, however often its spans were sent.
#[tokio::test(start_paused = true)]
async fn a_restart_loses_and_tears_nothing() {
    for seed in seeds() {
        run(seed).await;
    }
}
