//! Seeded chaos over changes of the exporters: random sets of them, random backends, held items, a
//! drain at a random moment. The books must balance at every check, and each name's backends must
//! have the items that its column shows.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use spandrel_pipeline::refused::Refused;

use super::*;
use crate::seeds::seeds;

const NAMES: [&str; 3] = ["a", "b", "c"];

/// Makes a backend from a seed: in the end it takes or refuses everything.
fn backend(rng: &mut StdRng) -> Arc<Backend> {
    let mut reaction = |_| match rng.random_range(0..8) {
        0..4 => Reaction::Take,
        4..6 => Reaction::TakeAfter(Duration::from_millis(rng.random_range(1..800))),
        6 => Reaction::Busy,
        _ => Reaction::Refuse,
    };
    let mut script = (0..10).map(&mut reaction).collect::<Vec<_>>();
    script.push(Reaction::Take);
    Backend::new(script)
}

/// The exporters so far, by name: the last backend of each is the one that is in use.
#[derive(Default)]
struct UsedExporters([Vec<(ExporterSpec, Arc<Backend>)>; 3]);

impl UsedExporters {
    /// Picks some of the names, each with the exporter that it had or with another.
    fn some(&mut self, rng: &mut StdRng) -> Vec<ExporterSpec> {
        let always = rng.random_range(0..NAMES.len());
        let mut specs = Vec::new();
        for (index, made) in self.0.iter_mut().enumerate() {
            if index != always && rng.random_bool(0.5) {
                continue;
            }
            if made.is_empty() || rng.random_bool(0.3) {
                let backend = backend(rng);
                let mut spec = named(NAMES[index], &backend);
                spec.queue.sizer = [Sizer::Requests, Sizer::Items][rng.random_range(0..2)];
                spec.queue.block_on_overflow = rng.random_bool(0.5);
                spec.queue.queue_size = rng.random_range(1..100);
                spec.queue.num_consumers = rng.random_range(1..4);
                spec.retry.initial_interval = Duration::from_millis(200);
                spec.batcher = rng.random_bool(0.5).then(|| BatcherConfig {
                    flush_timeout: Duration::from_millis(rng.random_range(1..300)),
                    min_size: rng.random_range(1..100),
                    max_size: [0, 17][rng.random_range(0..2)],
                    ..BatcherConfig::default()
                });
                made.push((spec, backend));
            }
            let (spec, _) = made.last().expect("made above");
            specs.push(spec.clone());
        }
        if rng.random_bool(0.3) {
            specs.reverse();
        }
        specs
    }

    /// Returns the items that the backends of this name have.
    fn taken(&self, name: &str) -> Vec<u64> {
        let index = NAMES.iter().position(|known| *known == name);
        let made = &self.0[index.expect("a name of these")];
        let mut taken: Vec<u64> = made
            .iter()
            .flat_map(|(_, backend)| backend.taken())
            .collect();
        taken.sort_unstable();
        taken
    }
}

async fn run(seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut made = UsedExporters::default();
    let tick = Duration::from_millis(rng.random_range(5..300));
    let stages = match rng.random_range(0..3) {
        0 => vec![],
        1 => vec![holding(Some(tick))],
        _ => vec![holding(Some(tick)), holding(None)],
    };
    let mut config = config(stages, made.some(&mut rng));
    config.shards = rng.random_range(1..3);
    let pipeline = Pipeline::build(config).await.unwrap();
    let ledger = Arc::clone(pipeline.ledger());
    let (mut offered, mut believed) = (0, 0);
    for _ in 0..rng.random_range(1..60) {
        let items = rng.random_range(1..40);
        let batch = spans(offered..offered + items);
        offered += items;
        let change = rng.random_bool(0.4).then(|| made.some(&mut rng));
        let change = async {
            yield_now().await;
            change
                .into_iter()
                .for_each(|specs| pipeline.set_exporters(specs));
        };
        match tokio::join!(offer(&pipeline, batch), change).0 {
            Ok(()) => believed += items,
            Err(Refused::Full { .. }) => {}
            Err(other) => panic!("seed {seed}: {other}"),
        }
        assert!(ledger.books().is_balanced(), "seed {seed}: {ledger}");
        sleep(Duration::from_millis(rng.random_range(0..100))).await;
    }
    let drained = pipeline
        .drain(Instant::now() + Duration::from_secs(25))
        .await;
    let books = ledger.books();
    assert!(
        books.is_balanced() && books.is_settled(),
        "seed {seed}: {ledger}"
    );
    assert_eq!(
        books.received - books.refused,
        believed,
        "seed {seed}: {ledger}"
    );
    for column in &books.exporters {
        let taken = made.taken(&column.name);
        assert_eq!(column.sent, taken.len() as u64, "seed {seed}: {ledger}");
        let twice = taken.windows(2).any(|pair| pair[0] == pair[1]);
        assert!(!twice, "seed {seed}: sent twice to {}", column.name);
    }
    if drained.in_time {
        assert_eq!(books.abandoned(), 0, "seed {seed}: {ledger}");
    }
}

/// However the exporters change, every item is accounted for in the column of each, nothing arrives
/// twice, and a drain that ended in time abandons nothing.
#[tokio::test(start_paused = true)]
async fn every_item_is_accounted_for() {
    for seed in seeds() {
        run(seed).await;
    }
}
