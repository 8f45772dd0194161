//! A durable collector that is started, killed and started again in the same folder, and the spans
//! that its clients were told are safe.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use spandrel_tests::backend::{Backend, Taken};
use spandrel_tests::client::Client;
use spandrel_tests::collector::{Collector, Setup};
use spandrel_tests::config::Config;
use spandrel_tests::shop::Shop;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tonic::codec::CompressionEncoding;

/// Returns a number from the environment.
pub(super) fn number(variable: &str, default: u64) -> u64 {
    let value = std::env::var(variable).ok();
    value
        .and_then(|value| value.parse().ok())
        .unwrap_or(default)
}

/// The longest time of a start, with anything to recover, on a machine that does other things too.
/// On its own it takes a tenth.
pub(super) const READY: Duration = Duration::from_secs(15);

/// Short waits between retries, so that a test need not wait as long as an operator would.
pub(super) const SOON: &str =
    "retry_on_failure: { initial_interval: 20ms, max_interval: 100ms }, timeout: 2s";

/// The folder and config that the collector is started with again and again.
pub(super) struct Site {
    pub(super) setup: Setup,
    /// All spans that clients were told are safe.
    pub(super) told: HashSet<u64>,
}

impl Site {
    /// Makes a durable traces pipeline in a folder of its own.
    pub(super) fn new(config: &Config) -> Result<Self> {
        Self::with(config, "data", "")
    }

    /// Makes a durable traces pipeline in this folder, with further keys of `durability`.
    pub(super) fn with(config: &Config, dir: &str, keys: &str) -> Result<Self> {
        let more = if keys.is_empty() { "" } else { ", " };
        let config = config
            .clone()
            .traces(&format!("durability: {{ dir: \"{dir}\"{more}{keys} }}"));
        Ok(Self {
            setup: Setup::new(&config.yaml())?.admin(),
            told: HashSet::new(),
        })
    }

    /// Starts it, and checks that it is ready in time.
    pub(super) async fn start(&self) -> Result<Collector> {
        // Its first start may have to build it.
        spandrel_tests::artifacts::collector()?;
        let began = Instant::now();
        let collector = Collector::start(&self.setup).await?;
        let took = began.elapsed();
        ensure!(took <= READY, "ready after {took:?}");
        Ok(collector)
    }

    /// Returns the number of items that a start found in its journal, in all logs together.
    pub(super) fn found(collector: &Collector) -> Result<u64> {
        let lines = collector.log().lines();
        let mut opened = lines
            .iter()
            .filter(|line| line.message() == "journal opened");
        let opened = opened.next().context("no journal was opened")?;
        opened.count("items").context("no items")
    }

    pub(super) fn tell(&mut self, clients: Vec<Client>) {
        let told = clients.into_iter().flat_map(|client| client.delivered);
        self.told.extend(told);
    }

    /// Returns the number of safe spans that are not at the backend.
    pub(super) fn missing(&self, taken: &Taken) -> usize {
        let missing = self.told.iter().filter(|id| !taken.spans.contains_key(id));
        missing.count()
    }

    /// Waits until the backend has all safe spans.
    pub(super) async fn arrives(&self, backend: &Backend) -> Result<()> {
        let all = backend.wait("all that was told is safe", |taken| {
            taken.spans.len() >= self.told.len() && self.missing(taken) == 0
        });
        all.await
            .with_context(|| format!("{} are missing", self.missing(&backend.taken())))
    }

    /// Returns the folder of the traces pipeline.
    pub(super) fn data(&self) -> PathBuf {
        self.setup.file("data").join("traces")
    }
}

/// Clients that send as fast as they are answered, every second one compressed.
pub(super) struct Load {
    stop: Arc<AtomicBool>,
    clients: JoinSet<Client>,
}

impl Load {
    pub(super) async fn start(address: &str, clients: u64, seed: u64) -> Result<Self> {
        let stop = Arc::<AtomicBool>::default();
        let mut all = JoinSet::new();
        for number in 0..clients {
            let mut client = Client::connect(address).await?;
            if number % 2 == 1 {
                client = client.compressed(CompressionEncoding::Gzip);
            }
            let client = client.patient_for(Duration::ZERO);
            all.spawn(send(client, seed ^ (number << 32), Arc::clone(&stop)));
        }
        Ok(Self { stop, clients: all })
    }

    /// Stops, and returns the clients with their answers once they have noticed the end.
    pub(super) async fn stop(self) -> Vec<Client> {
        self.stop.store(true, Ordering::Release);
        self.clients.join_all().await
    }
}

async fn send(mut client: Client, seed: u64, stop: Arc<AtomicBool>) -> Client {
    let mut shop = Shop::new(seed);
    while !stop.load(Ordering::Acquire) {
        if client.send(shop.request(30)).await.is_err() {
            sleep(Duration::from_millis(5)).await;
        }
    }
    client
}
