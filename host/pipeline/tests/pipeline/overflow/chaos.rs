//! Seeded chaos over failure domains: pipelines behind one receiver, with dead, slow, failing and
//! flapping backends beside a healthy one, which must get everything that was accepted; senders
//! that hang up, stages that hold, exporters that change, a drain at a random moment. The books of
//! each must balance at every check, and each backend must have the items that its column shows.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::future::join_all;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use spandrel_pipeline::batcher::BatcherConfig;
use spandrel_pipeline::ingress::{FanOut, Ingress};
use spandrel_pipeline::queue::Sizer;
use spandrel_pipeline::stage::StageSpec;
use spandrel_wire::Signal;
use tokio::task::JoinSet;

use super::*;
use crate::seeds::seeds;

const MS: Duration = Duration::from_millis(1);

/// Makes a backend that is unhealthy in a random way.
fn ill(rng: &mut StdRng) -> Arc<Backend> {
    let slow = |rng: &mut StdRng| Reaction::TakeAfter(rng.random_range(1..5000) * MS);
    match rng.random_range(0..5) {
        0 => Backend::new([Reaction::Hang]),
        1 => Backend::new([Reaction::Busy]),
        2 => Backend::new([slow(rng)]),
        3 => Backend::new([Reaction::Refuse]),
        _ => {
            let script = (0..200).map(|_| match rng.random_range(0..6) {
                0 | 1 => Reaction::Busy,
                2 => slow(rng),
                3 => Reaction::Refuse,
                _ => Reaction::Take,
            });
            Backend::new(script.collect::<Vec<_>>())
        }
    }
}

/// Makes an exporter with little room to an unhealthy backend. If it must not lose anything, the
/// items that plugins release wait for it, which delays them for all exporters.
fn weak(rng: &mut StdRng, name: &str, backend: &Arc<Backend>, may_refuse: bool) -> ExporterSpec {
    let mut spec = exporter(backend, rng.random_range(1..30));
    spec.name = name.to_owned();
    spec.queue.sizer = [Sizer::Requests, Sizer::Items][rng.random_range(0..2)];
    spec.queue.block_on_overflow = rng.random_bool(0.4);
    if may_refuse && rng.random_bool(0.2) {
        spec.queue.on_full = OnFull::Refuse;
    }
    spec.queue.num_consumers = rng.random_range(1..4);
    spec.retry.initial_interval = 200 * MS;
    spec.retry.max_elapsed_time = [3 * SECOND, 300 * SECOND][rng.random_range(0..2)];
    spec.batcher = rng.random_bool(0.3).then(|| BatcherConfig {
        flush_timeout: rng.random_range(1..300) * MS,
        min_size: rng.random_range(1..100),
        max_size: [0, 17][rng.random_range(0..2)],
        ..BatcherConfig::default()
    });
    spec
}

/// One pipeline, with the backends of each exporter.
struct Domain {
    pipeline: Pipeline,
    specs: Vec<ExporterSpec>,
    backends: Vec<Arc<Backend>>,
    healthy: Option<Arc<Backend>>,
    may_refuse: bool,
}

impl Domain {
    async fn new(rng: &mut StdRng, is_first: bool) -> Self {
        let (mut specs, mut backends) = (Vec::new(), Vec::new());
        let stages = stages(rng);
        let may_refuse = stages.is_empty();
        for name in ["a", "b", "c"].iter().take(rng.random_range(1..4)) {
            let backend = ill(rng);
            specs.push(weak(rng, name, &backend, may_refuse));
            backends.push(backend);
        }
        let healthy = (is_first || rng.random_bool(0.3)).then(|| Backend::new([]));
        if let Some(backend) = &healthy {
            let at = rng.random_range(0..=specs.len());
            let mut spec = exporter(backend, 100_000);
            spec.name = "healthy".to_owned();
            specs.insert(at, spec);
            backends.insert(at, Arc::clone(backend));
        }
        let mut config = config(stages, specs.clone());
        config.shards = rng.random_range(1..3);
        Self {
            pipeline: Pipeline::build(config).await.unwrap(),
            specs,
            backends,
            healthy,
            may_refuse,
        }
    }

    /// Changes the settings of some exporters, but not their backends.
    fn change(&mut self, rng: &mut StdRng) {
        for (spec, backend) in self.specs.iter_mut().zip(&self.backends) {
            if spec.name != "healthy" && rng.random_bool(0.5) {
                *spec = weak(rng, &spec.name.clone(), backend, self.may_refuse);
            }
        }
        self.pipeline.set_exporters(self.specs.clone());
    }
}

/// The remains of a pipeline after its drain.
struct Drained {
    books: Books,
    specs: Vec<ExporterSpec>,
    backends: Vec<Arc<Backend>>,
    healthy: Option<Arc<Backend>>,
}

impl Drained {
    /// Checks the books against the items that the backends have.
    fn check(&self, seed: u64, believed: &[u64]) {
        let books = &self.books;
        let is = format!("seed {seed}: {books}");
        assert!(books.is_balanced() && books.is_settled(), "{is}");
        for (spec, backend) in self.specs.iter().zip(&self.backends) {
            let (taken, column) = (backend.taken(), column(books, &spec.name));
            assert_eq!(column.sent, taken.len() as u64, "{is}");
            let twice = taken.windows(2).any(|pair| pair[0] == pair[1]);
            assert!(!twice, "{is}: sent twice to {}", spec.name);
        }
        let Some(healthy) = &self.healthy else {
            return;
        };
        let taken = healthy.taken();
        let accepted = books.received - books.refused;
        assert_eq!(books.overflowed.total(), 0, "{is}");
        assert_eq!(taken.len() as u64, accepted, "{is}");
        for id in believed {
            assert!(taken.binary_search(id).is_ok(), "{is}: {id} is missing");
        }
    }
}

fn stages(rng: &mut StdRng) -> Vec<StageSpec> {
    let tick = Some(rng.random_range(5..300) * MS);
    match rng.random_range(0..3) {
        0 => vec![],
        1 => vec![holding(tick)],
        _ => vec![holding(tick), holding(None)],
    }
}

/// Sends batches, and does not always wait for the answer.
async fn sender(
    ingress: FanOut,
    mut rng: StdRng,
    next: Arc<AtomicU64>,
    believed: Arc<Mutex<Vec<u64>>>,
) {
    for _ in 0..rng.random_range(1..60) {
        let items = rng.random_range(1..20);
        let first = next.fetch_add(items, Ordering::Relaxed);
        let offered = ingress.offer(Signal::Traces, spans(first..first + items));
        let patience = [MS, 10 * SECOND, 60 * SECOND][rng.random_range(0..3)];
        match timeout(patience, offered).await {
            Ok(Ok(_)) => believed.lock().unwrap().extend(first..first + items),
            Ok(Err(Refused::Full { .. })) | Err(_) => {}
            Ok(Err(Refused::Draining)) => return,
            Ok(Err(other)) => panic!("{other}"),
        }
        sleep(rng.random_range(0..200) * MS).await;
    }
}

async fn run(seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut domains = Vec::new();
    for index in 0..rng.random_range(1..4) {
        domains.push(Domain::new(&mut rng, index == 0).await);
    }
    let receiver = Pipeline::fan_out(domains.iter().map(|domain| &domain.pipeline));
    let (next, believed) = (
        Arc::<AtomicU64>::default(),
        Arc::<Mutex<Vec<u64>>>::default(),
    );
    let mut senders = JoinSet::new();
    for number in 0..rng.random_range(1..5) {
        let rng = StdRng::seed_from_u64(seed ^ number << 40);
        let (next, believed) = (Arc::clone(&next), Arc::clone(&believed));
        senders.spawn(sender(receiver.clone(), rng, next, believed));
    }
    let stop = Instant::now() + rng.random_range(0..20_000) * MS;
    while Instant::now() < stop {
        sleep(rng.random_range(1..1000) * MS).await;
        for domain in &mut domains {
            let books = domain.pipeline.ledger().books();
            assert!(books.is_balanced(), "seed {seed}: {books}");
            if rng.random_bool(0.1) {
                domain.change(&mut rng);
            }
        }
    }
    let deadline = Instant::now() + 25 * SECOND;
    for domain in &domains {
        domain.pipeline.close();
    }
    senders.join_all().await;
    let drains = domains.into_iter().map(|domain| async move {
        let ledger = Arc::clone(domain.pipeline.ledger());
        domain.pipeline.drain(deadline).await;
        Drained {
            books: ledger.books(),
            specs: domain.specs,
            backends: domain.backends,
            healthy: domain.healthy,
        }
    });
    let drained = join_all(drains.collect::<Vec<_>>()).await;
    let believed = believed.lock().unwrap();
    drained
        .iter()
        .for_each(|domain| domain.check(seed, &believed));
}

/// Whichever backends are unhealthy, the healthy ones get everything that was accepted, and the
/// books are exact for each.
#[tokio::test(start_paused = true)]
async fn the_healthy_get_everything() {
    for seed in seeds() {
        run(seed).await;
    }
}
