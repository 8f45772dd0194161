//! SIGTERM in the middle of every phase of a swap: while a candidate is compiled, probed, published
//! again and again, on probation, beside the running generation, rolled back. The collector drains
//! as usual: exit code 0, the ledger exact, nothing lost.
//!
//! The short form stops each phase's collector once; `SPANDREL_SIGTERMS=25 cargo test -p
//! spandrel-tests --test e2e swap_sigterm` stops each that many times.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Value, json};
use spandrel_tests::admin::Admin;
use spandrel_tests::artifacts::{guest, plugin, sdk_guest};
use spandrel_tests::backend::{Backend, Behaviour};
use spandrel_tests::client::Client;
use spandrel_tests::collector::{Collector, Ended, Setup};
use spandrel_tests::config::Config;
use spandrel_tests::shop::Shop;
use spandrel_tests::until::{say, until};
use tokio::task::JoinSet;
use tokio::time::sleep;

const STAGE: &str = "wasm/stage";
const CLIENTS: u64 = 2;

/// The phase of a swap when SIGTERM comes.
#[derive(Clone, Copy, Debug)]
enum Phase {
    /// A candidate that is in no cache is compiled.
    Compiling,
    /// A candidate spins in its `configure`.
    Configuring,
    /// A slow candidate is probed.
    Probing,
    /// One swap follows another.
    Publishing,
    /// A generation has just been published.
    Probation,
    /// A candidate gets a share of the traces.
    Canary,
    /// A candidate gets a copy of the traces.
    Shadow,
    /// Swap and rollback alternate.
    RollingBack,
}

const PHASES: [Phase; 8] = [
    Phase::Compiling,
    Phase::Configuring,
    Phase::Probing,
    Phase::Publishing,
    Phase::Probation,
    Phase::Canary,
    Phase::Shadow,
    Phase::RollingBack,
];

fn number(variable: &str, default: u64) -> u64 {
    let value = std::env::var(variable).ok();
    value
        .and_then(|value| value.parse().ok())
        .unwrap_or(default)
}

/// For each phase: exit code 0, received = refused + exported + dropped, nothing held, queued or
/// abandoned, and each span that a client believes delivered is at the backend or was dropped.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_ledger_is_exact_in_every_phase() -> Result<()> {
    let (rounds, seed) = (number("SPANDREL_SIGTERMS", 1), number("SPANDREL_SEED", 1));
    let mut random = StdRng::seed_from_u64(seed);
    let mut changes = 0;
    for round in 0..rounds {
        for phase in PHASES {
            let after = Duration::from_millis(random.random_range(1..150));
            let name = format!("{phase:?}, round {round} of seed {seed}, SIGTERM after {after:?}");
            changes += one(phase, after, random.random()).await.context(name)?;
        }
    }
    say(&format!(
        "{} times SIGTERM, in each phase of a swap; {changes} changes went before",
        rounds * PHASES.len() as u64
    ));
    Ok(())
}

async fn one(phase: Phase, after: Duration, seed: u64) -> Result<u64> {
    let backend = Backend::start().await?;
    let first = plugin("keep-interesting-traces")?;
    let keys = "config: { ratio: 0.5, settle: 100ms, timeout: 300ms }, \
                limits: { configure_deadline: 5s }";
    let config = Config::new(backend.endpoint()).stage("stage", &first, keys);
    let mut setup = Setup::new(&config.yaml())?.admin();
    if matches!(phase, Phase::Compiling) {
        let cache = setup.file("cache");
        setup = setup.env("XDG_CACHE_HOME", cache);
    }
    let collector = Collector::start(&setup).await?;
    let admin = collector.admin()?;
    let address = collector.address("otlp")?;
    let stopped = Arc::new(AtomicBool::new(false));
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        let client = Client::connect(&address).await?;
        let client = client.patient_for(Duration::from_millis(200));
        clients.spawn(load(client, seed ^ number, stopped.clone()));
    }
    backend
        .wait("traffic", |taken| taken.totals.spans > 500)
        .await?;
    let mut changing = JoinSet::new();
    changing.spawn(change(admin, phase, Modules::find()?));
    sleep(after).await;
    let ended = collector.stop().await?;
    stopped.store(true, Ordering::Release);
    let clients = clients.join_all().await;
    let changes = changing.join_all().await;
    judge(&ended, &clients, &backend).with_context(|| ended.log.tail())?;
    changes.into_iter().sum()
}

/// The modules that are swapped in.
struct Modules {
    first: PathBuf,
    next: PathBuf,
    slow: PathBuf,
    looping: PathBuf,
}

impl Modules {
    fn find() -> Result<Self> {
        Ok(Self {
            first: plugin("keep-interesting-traces")?,
            next: sdk_guest("keep_interesting_traces_next")?,
            slow: guest("slow")?,
            looping: guest("loop_in_configure")?,
        })
    }
}

/// Changes the stage until the collector is gone, or refuses because it drains. Returns the number
/// of changes.
async fn change(admin: Admin, phase: Phase, modules: Modules) -> Result<u64> {
    let Modules {
        first,
        next,
        slow,
        looping,
    } = modules;
    let slow = json!({ "module": slow, "config": { "ms": 40 }, "dry_run": true });
    let looping = json!({ "module": looping });
    let beside = |key: &str, value: Value| {
        let mut request = json!({ "module": next });
        request[key] = value;
        request
    };
    let mut changes = 0;
    for turn in 0_u64.. {
        let other = if turn % 2 == 0 { &next } else { &first };
        let answer = match phase {
            Phase::Compiling => {
                let request = json!({ "module": other, "dry_run": true });
                admin.ask_swap(STAGE, &request).await
            }
            Phase::Configuring => admin.ask_swap(STAGE, &looping).await,
            Phase::Probing => admin.ask_swap(STAGE, &slow).await,
            Phase::Publishing => admin.ask_swap(STAGE, &json!({ "module": other })).await,
            Phase::Probation if turn == 0 => {
                admin.ask_swap(STAGE, &json!({ "module": other })).await
            }
            Phase::Canary if turn == 0 => admin.ask_swap(STAGE, &beside("canary", json!(30))).await,
            Phase::Shadow if turn == 0 => {
                admin.ask_swap(STAGE, &beside("shadow", json!(true))).await
            }
            Phase::RollingBack if turn % 2 == 0 => {
                admin.ask_swap(STAGE, &json!({ "module": next })).await
            }
            Phase::RollingBack => admin.ask_to("rollback", STAGE).await,
            Phase::Probation | Phase::Canary | Phase::Shadow => break,
        };
        match answer {
            Ok(answer) if answer.code == 503 => break,
            Ok(answer) if answer.code == 200 => changes += 1,
            // This candidate is refused for its own fault, and is tried again.
            Ok(answer) if answer.code == 422 && matches!(phase, Phase::Configuring) => {}
            Ok(answer) => bail!("{answer:?}"),
            Err(_) => break,
        }
    }
    Ok(changes)
}

async fn load(mut client: Client, seed: u64, stopped: Arc<AtomicBool>) -> Client {
    let mut shop = Shop::new(seed);
    while !stopped.load(Ordering::Acquire) {
        // A request that is refused in the drain stays with the client, which knows that from the
        // answer.
        if client.send(shop.request(40)).await.is_err() {
            sleep(Duration::from_millis(5)).await;
        }
    }
    client
}

fn judge(ended: &Ended, clients: &[Client], backend: &Backend) -> Result<()> {
    ended.expect_code(0)?;
    let ledger = ended.ledger("traces")?;
    ledger.check()?;
    ensure!(ledger.abandoned == 0, "abandoned: {ledger:?}");
    let taken = backend.taken();
    ensure!(taken.totals.spans == ledger.exported, "{ledger:?}");
    ensure!(taken.duplicates() == 0, "{} came twice", taken.duplicates());
    let delivered = clients.iter().flat_map(|client| &client.delivered);
    let delivered: HashSet<u64> = delivered.copied().collect();
    let believed = delivered.len() as u64;
    ensure!(
        ledger.received - ledger.refused == believed,
        "clients believe in {believed}: {ledger:?}"
    );
    let missing = delivered.iter().filter(|id| !taken.spans.contains_key(id));
    ensure!(missing.count() as u64 == ledger.dropped, "{ledger:?}");
    Ok(())
}

/// A swap requested while the collector drains is refused with 503, and the drain continues.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_swap_during_the_drain_is_refused() -> Result<()> {
    let mut backend = Backend::start().await?;
    let config = Config::new(backend.endpoint())
        .stage("stage", &plugin("drop-duplicates")?, "")
        .exporter("retry_on_failure: { initial_interval: 10ms, max_interval: 100ms }");
    let collector = Collector::start(&Setup::new(&config.yaml())?.admin()).await?;
    let admin = collector.admin()?;
    let mut client = Client::connect(&collector.address("otlp")?).await?;
    // The drain waits for the backend, which leaves time for a request.
    backend.answer(Behaviour::Hanging);
    client.send(Shop::new(5).request(40)).await?;
    collector.sigterm()?;
    let request = json!({ "module": sdk_guest("drop_duplicates_next")? });
    let refused = until("a refusal", || async {
        match admin.ask_swap(STAGE, &request).await {
            Ok(answer) if answer.code == 200 => None,
            answer => Some(answer),
        }
    });
    let refused = refused.await?.context("nobody answered during the drain")?;
    let reason = refused.refusal(503)?;
    ensure!(reason.contains("stopping"), "{reason}");
    backend.answer(Behaviour::Fine);
    let ended = collector.wait().await?;
    ended.expect_code(0)?;
    ended.ledger("traces")?.check()?;
    ensure!(backend.totals().spans == client.delivered.len() as u64);
    backend.go_away().await
}
