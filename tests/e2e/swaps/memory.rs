//! The memory that a collector keeps for earlier generations: no more after many swaps than after a
//! few.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use spandrel_tests::artifacts;
use spandrel_tests::backend::Backend;
use spandrel_tests::collector::{Collector, Setup};
use spandrel_tests::config::Config;
use spandrel_tests::until::{say, until};
use tokio::time::{Instant, sleep, sleep_until};

use super::load::{Load, Style};
use super::{STAGE, TOLERANT, swaps};

/// The number of swaps after which the memory should stay the same.
const FEW: u64 = 3;
/// The number of swaps in the short form.
const MANY: u64 = 40;
/// The highest allowed growth of the memory.
const GROWTH_PERCENT: u64 = 25;
/// The shortest time that clients send: 40 swaps take about as long.
const LOAD: Duration = Duration::from_secs(8);
/// The time without traffic before the memory is read for the first time.
const QUIET: Duration = Duration::from_secs(5);

/// After many swaps between two builds under load, the resident memory settles within a minute at
/// no more than a quarter above that after three swaps.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_is_let_go() -> Result<()> {
    let builds = [
        artifacts::plugin("drop-duplicates")?,
        artifacts::sdk_guest("drop_duplicates_next")?,
    ];
    // Tables of this size are full before anything is measured.
    let keys = &format!("config: {{ window: 10m, max_spans: 2000 }}, {TOLERANT}");
    let config = |backend: &str| Config::new(backend).stage("stage", &builds[0], keys);
    let next = |round: u64| json!({ "module": builds[usize::from(round.is_multiple_of(2))] });
    memory_stays("builds", config, next).await
}

/// The same holds for a plugin that stays and gets a configuration of 64 KiB each time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn configurations_are_let_go() -> Result<()> {
    let module = artifacts::guest("unchanged")?;
    let config = |backend: &str| Config::new(backend).stage("stage", &module, TOLERANT);
    let next = |round: u64| json!({ "config": { "text": "x".repeat(64 << 10), "round": round } });
    memory_stays("configurations", config, next).await
}

async fn memory_stays(
    name: &str,
    config: impl FnOnce(&str) -> Config,
    next: impl Fn(u64) -> Value,
) -> Result<()> {
    let backend = Backend::start().await?;
    let config = config(&backend.endpoint())
        .exporter("sending_queue: { queue_size: 16, block_on_overflow: true }");
    let collector = Collector::start(&Setup::new(&config.yaml())?.admin()).await?;
    let swaps = swaps(MANY);
    swap(&collector, &next, 0..FEW).await?;
    sleep(QUIET).await;
    let few = collector.memory_kib()?;
    swap(&collector, &next, FEW..FEW + swaps).await?;
    let busy = collector.memory_kib()?;
    let most = few + few * GROWTH_PERCENT / 100;
    let settled = until("memory that is let go", || async {
        collector.memory_kib().ok().filter(|now| *now <= most)
    });
    let settled = settled.await;
    let now = collector.memory_kib()?;
    let told = format!(
        "{name}: after {FEW} swaps {few} KiB, after {swaps} more {busy} KiB, in the end {now} KiB"
    );
    say(&told);
    settled.context(told)?;
    collector.stop().await?.expect_code(0)
}

/// Swaps while clients send. The clients send for the same time in each call, so both readings
/// include the memory that traffic alone takes.
async fn swap(
    collector: &Collector,
    next: &impl Fn(u64) -> Value,
    rounds: std::ops::Range<u64>,
) -> Result<()> {
    let load = Arc::new(Load::default());
    let address = collector.address("otlp")?;
    let clients = load.start(&address, Style::Repeating).await?;
    let admin = collector.admin()?;
    let end = Instant::now() + LOAD;
    for round in rounds {
        let answer = admin.ask_swap(STAGE, &next(round)).await?;
        ensure!(answer.code == 200, "swap {round}: {answer:?}");
    }
    sleep_until(end).await;
    load.stop();
    clients.join_all().await;
    Ok(())
}
