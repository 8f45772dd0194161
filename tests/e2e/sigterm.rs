//! SIGTERM at random moments under load, with a plugin that holds and a backend that is fine, slow
//! or failing: the ledger is exact, and nothing that a client believes delivered is lost.
//!
//! The short form stops twelve collectors; `SPANDREL_SIGTERMS=200 cargo test -p spandrel-tests
//! --test e2e sigterm` is the long one. `SPANDREL_SEED` repeats the moments of another run.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use spandrel_tests::artifacts;
use spandrel_tests::backend::{Backend, Behaviour};
use spandrel_tests::client::Client;
use spandrel_tests::collector::{Collector, Ended, Setup};
use spandrel_tests::config::Config;
use spandrel_tests::ledger::Ledger;
use spandrel_tests::shop::{Shop, now};
use spandrel_tests::until::say;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tonic::Code;

const CLIENTS: u64 = 3;

fn number(variable: &str, default: u64) -> u64 {
    let value = std::env::var(variable)
        .ok()
        .and_then(|value| value.parse().ok());
    value.unwrap_or(default)
}

/// For each SIGTERM: received = refused + exported + dropped, nothing is held, queued or abandoned,
/// the backend has what the ledger says, the exit code is 0, and each span that a client believes
/// delivered is at the backend or counted as dropped.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_ledger_is_exact_at_any_moment() -> Result<()> {
    let (rounds, seed) = (number("SPANDREL_SIGTERMS", 12), number("SPANDREL_SEED", 1));
    let mut random = StdRng::seed_from_u64(seed);
    let mut sum = Ledger::default();
    for round in 0..rounds {
        let behaviour = match random.random_range(0..3) {
            0 => Behaviour::Fine,
            1 => Behaviour::Slow(Duration::from_millis(random.random_range(1..200))),
            _ => Behaviour::Failing {
                code: Code::Unavailable,
                percent: 30,
            },
        };
        let after = Duration::from_millis(random.random_range(5..700));
        let name = format!("round {round} of seed {seed}: {behaviour:?}, SIGTERM after {after:?}");
        let ledger = one(behaviour, after, random.random()).await.context(name)?;
        sum.add(&ledger);
    }
    say(&format!("{rounds} times SIGTERM, all told: {sum:?}"));
    ensure!(sum.exported > 0 && sum.dropped > 0, "no load: {sum:?}");
    Ok(())
}

async fn one(behaviour: Behaviour, after: Duration, seed: u64) -> Result<Ledger> {
    let backend = Backend::start().await?;
    backend.answer(behaviour);
    let sampler = "config: { ratio: 0.5, settle: 100ms, timeout: 300ms }";
    let config = Config::new(backend.endpoint())
        .stage(
            "drop_health_checks",
            &artifacts::plugin("drop-health-checks")?,
            "",
        )
        .stage(
            "sampler",
            &artifacts::plugin("keep-interesting-traces")?,
            sampler,
        )
        .exporter("retry_on_failure: { initial_interval: 10ms, max_interval: 100ms }");
    let collector = Collector::start(&Setup::new(&config.yaml())?).await?;
    let address = collector.address("otlp")?;
    let stopped = Arc::new(AtomicBool::new(false));
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        let client = Client::connect(&address).await?;
        let client = client.patient_for(Duration::from_millis(200));
        clients.spawn(load(client, seed ^ number, stopped.clone()));
    }
    sleep(after).await;
    let ended = collector.stop().await?;
    stopped.store(true, Ordering::Release);
    let clients = clients.join_all().await;
    judge(&ended, &clients, &backend).with_context(|| format!("the log:\n{}", ended.log.tail()))
}

/// Sends visits and health checks until told to stop, and returns the client.
async fn load(mut client: Client, seed: u64, stopped: Arc<AtomicBool>) -> Client {
    let mut shop = Shop::new(seed);
    while !stopped.load(Ordering::Acquire) {
        let mut request = shop.request(40);
        let probe = spandrel_tests::shop::request(shop.probe(1, "/healthz", now()));
        request.resource_spans.extend(probe.resource_spans);
        // A request that is refused in the drain stays with the client, which knows that from the
        // answer.
        if client.send(request).await.is_err() {
            sleep(Duration::from_millis(5)).await;
        }
    }
    client
}

fn judge(ended: &Ended, clients: &[Client], backend: &Backend) -> Result<Ledger> {
    ended.expect_code(0)?;
    let ledger = ended.ledger("traces")?;
    ledger.check()?;
    ensure!(
        ledger.abandoned == 0,
        "abandoned, though the backend answered: {ledger:?}"
    );
    let taken = backend.taken();
    ensure!(
        taken.totals.spans == ledger.exported,
        "the backend has {}, the ledger says {ledger:?}",
        taken.totals.spans
    );
    ensure!(
        taken.duplicates() == 0,
        "{} spans came twice",
        taken.duplicates()
    );
    let delivered: HashSet<u64> = clients
        .iter()
        .flat_map(|client| client.delivered.iter().copied())
        .collect();
    let accepted = ledger.received - ledger.refused;
    let believed = delivered.len() as u64;
    ensure!(
        accepted == believed,
        "accepted {accepted}, but clients believe in {believed}: {ledger:?}"
    );
    let missing = delivered
        .iter()
        .filter(|id| !taken.spans.contains_key(*id))
        .count() as u64;
    ensure!(
        missing == ledger.dropped,
        "{missing} spans are not at the backend: {ledger:?}"
    );
    ensure!(
        ledger.dropped > 0 || believed < 1_000,
        "the plugins dropped nothing: {ledger:?}"
    );
    Ok(ledger)
}
