//! A running collector whose configuration is changed, with traffic going through it meanwhile.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use spandrel_tests::admin::Admin;
use spandrel_tests::backend::Backend;
use spandrel_tests::client::Client;
use spandrel_tests::collector::{Collector, Ended, Setup};
use spandrel_tests::ledger::Ledger;
use spandrel_tests::shop::Shop;
use spandrel_tests::until::until;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use super::plan::Plan;

/// The log message for a configuration that took effect.
pub(super) const RELOADED: &str = "configuration reloaded";
/// The log message for a configuration that did not.
pub(super) const NOT_RELOADED: &str = "configuration not reloaded, everything runs on as it was";

/// A collector, its file, and its admin API.
pub(super) struct Site {
    setup: Setup,
    pub(super) collector: Collector,
    pub(super) admin: Admin,
}

impl Site {
    /// Starts a collector.
    pub(super) async fn start(plan: &Plan) -> Result<Self> {
        let setup = Setup::new(&plan.yaml())?.admin();
        let collector = Collector::start(&setup).await?;
        let admin = collector.admin()?;
        Ok(Self {
            setup,
            collector,
            admin,
        })
    }

    /// Returns the path of its configuration.
    pub(super) fn file(&self) -> PathBuf {
        self.setup.file("spandrel.yaml")
    }

    /// Replaces the configuration file, as editors do.
    pub(super) fn write(&self, yaml: &str) -> Result<()> {
        let new = self.setup.file("spandrel.yaml.new");
        std::fs::write(&new, yaml)?;
        std::fs::rename(new, self.file())?;
        Ok(())
    }

    /// Changes the configuration by the admin API. Returns what changed, line by line.
    pub(super) async fn reload(&self, plan: &Plan) -> Result<Vec<String>> {
        self.write(&plan.yaml())?;
        let report: Value = self.admin.ask("POST", "/v1/reload", "", b"").await?.ok()?;
        let changes = report.get("changes").cloned().unwrap_or_default();
        Ok(serde_json::from_value(changes)?)
    }

    /// Requests a reload that must fail. Returns the reason.
    pub(super) async fn refusal(&self, yaml: &str) -> Result<String> {
        self.write(yaml)?;
        let answer = self.admin.ask("POST", "/v1/reload", "", b"").await?;
        answer.refusal(422)
    }

    fn reloads(&self) -> usize {
        self.collector.log().count_of(RELOADED)
    }

    /// Writes the file, calls `tell`, and waits for the reload.
    pub(super) async fn reload_by(
        &self,
        plan: &Plan,
        tell: impl FnOnce(&Collector) -> Result<()>,
    ) -> Result<()> {
        let before = self.reloads();
        self.write(&plan.yaml())?;
        tell(&self.collector)?;
        let more = || async { (self.reloads() > before).then_some(()) };
        until("a reload", more)
            .await
            .with_context(|| self.collector.log().tail())
    }

    /// Starts traffic to a receiver. Its address is in the log, which may be read a little later.
    pub(super) async fn traffic(&self, receiver: &str, seed: u64) -> Result<Traffic> {
        let client = || async {
            let address = self.collector.address(receiver).ok()?;
            Client::connect(&address).await.ok()
        };
        let client = until("a receiver to connect to", client).await;
        let client = client.with_context(|| self.collector.log().tail())?;
        Ok(Traffic::start(client, seed))
    }

    /// Waits until a receiver has begun to listen for the `count`th time. Returns its address.
    pub(super) async fn listening(&self, receiver: &str, count: usize) -> Result<String> {
        let address = || async {
            let lines = self.collector.log().lines();
            let mut begun = lines.iter().filter(|line| {
                line.message() == "receiver listening" && line.text("receiver") == Some(receiver)
            });
            let address = begun.nth(count - 1)?.text("endpoint")?;
            Some(address.to_owned())
        };
        until("a receiver that listens", address).await
    }
}

/// One client that sends all the time.
pub(super) struct Traffic {
    client: Client,
    sent: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    task: JoinSet<Sent>,
}

/// The results of one client.
pub(super) struct Sent {
    pub(super) client: Client,
    pub(super) errors: Vec<String>,
}

impl Traffic {
    fn start(client: Client, seed: u64) -> Self {
        let (sent, stop) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let mut task = JoinSet::new();
        task.spawn(send(
            client.clone(),
            seed,
            Arc::clone(&sent),
            Arc::clone(&stop),
        ));
        Self {
            client,
            sent,
            stop,
            task,
        }
    }

    /// Returns the number of its connections.
    pub(super) fn connections(&self) -> u64 {
        self.client.connections()
    }

    /// Waits until a request that was sent after now has been answered with OK.
    pub(super) async fn goes_on(&self) -> Result<()> {
        let before = self.sent.load(Ordering::Acquire);
        let more = || async { (self.sent.load(Ordering::Acquire) >= before + 2).then_some(()) };
        until("an answer to the traffic", more).await
    }

    pub(super) async fn stop(mut self) -> Result<Sent> {
        self.stop.store(true, Ordering::Release);
        let sent = self.task.join_next().await;
        Ok(sent.context("no traffic")??)
    }
}

async fn send(client: Client, seed: u64, sent: Arc<AtomicU64>, stop: Arc<AtomicBool>) -> Sent {
    let mut client = client.patient_for(Duration::from_secs(5));
    let (mut shop, mut errors) = (Shop::new(seed), Vec::new());
    let mut pace = interval(Duration::from_millis(5));
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !stop.load(Ordering::Acquire) {
        pace.tick().await;
        match client.send(shop.request(20)).await {
            Ok(()) => drop(sent.fetch_add(1, Ordering::AcqRel)),
            Err(status) => errors.push(status.to_string()),
        }
    }
    Sent { client, errors }
}

/// Checks that nothing was lost between the clients of a pipeline and the backend that only it
/// exports to, and that its ledger agrees.
pub(super) fn judge(ended: &Ended, sent: &[Sent], backend: &Backend) -> Result<Ledger> {
    ended.expect_code(0)?;
    for sent in sent {
        ensure!(
            sent.errors.is_empty(),
            "refused for good: {:?}",
            sent.errors
        );
    }
    let ledger = ended.ledger_of("traces", "otlp_grpc")?;
    ledger.check()?;
    ensure!(ledger.abandoned + ledger.missed == 0, "{ledger:?}");
    let taken = backend.taken();
    ensure!(
        taken.totals.spans == ledger.exported,
        "the backend has {:?}: {ledger:?}",
        taken.totals
    );
    ensure!(
        taken.duplicates() == 0,
        "{} spans came twice",
        taken.duplicates()
    );
    let delivered: HashSet<u64> = sent
        .iter()
        .flat_map(|sent| sent.client.delivered.iter().copied())
        .collect();
    let accepted = ledger.received - ledger.refused;
    let believed = delivered.len() as u64;
    ensure!(
        accepted == believed,
        "clients believe in {believed}: {ledger:?}"
    );
    let missing = delivered.iter().filter(|id| !taken.spans.contains_key(*id));
    let missing = missing.count() as u64;
    ensure!(
        missing == ledger.dropped,
        "{missing} are not at the backend: {ledger:?}"
    );
    Ok(ledger)
}
