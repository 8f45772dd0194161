//! Batches that fail every time, or kill the process: they are quarantined after three attempts,
//! and everything else is delivered.

use anyhow::{Context as _, Result, ensure};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use serde_json::Value;
use spandrel_tests::artifacts::guest;
use spandrel_tests::backend::Backend;
use spandrel_tests::client::Client;
use spandrel_tests::collector::{Collector, Setup};
use spandrel_tests::config::Config;
use spandrel_tests::shop::attribute::text;
use spandrel_tests::shop::{Shop, span_ids};
use spandrel_tests::until::until;
use tokio::process::Command;

use super::site::{SOON, Site};

/// Makes a request on which the guests `poison` and `stuck_on_mark` fail.
fn marked(shop: &mut Shop) -> ExportTraceServiceRequest {
    let mut request = shop.request(5);
    let mark = text("spandrel.test.poison", "x");
    request.resource_spans[0].scope_spans[0].spans[0]
        .attributes
        .push(mark);
    request
}

/// Runs `spandrel quarantine` with these arguments, on a running collector. Returns true if it
/// succeeded, and its output.
async fn quarantine(setup: &Setup, words: &[&str]) -> Result<(bool, String)> {
    let socket = setup.file("admin.sock");
    let output = Command::new(spandrel_tests::artifacts::collector()?)
        .arg("quarantine")
        .args(words)
        .arg("--admin")
        .arg(format!("unix:{}", socket.display()))
        .output()
        .await?;
    let text = [output.stdout, output.stderr].concat();
    Ok((output.status.success(), String::from_utf8(text)?))
}

/// Returns the ids of quarantined batches. A batch that waits for another try has `waiting: true`.
async fn ids(setup: &Setup) -> Result<Vec<String>> {
    let (_, json) = quarantine(setup, &["ls", "-o", "json"]).await?;
    let all: Vec<Value> = serde_json::from_str(&json).context(json)?;
    let shelved = all.iter().filter(|one| one.get("waiting").is_none());
    let ids = shelved.filter_map(|one| one.get("id")?.as_str());
    Ok(ids.map(str::to_owned).collect())
}

async fn wait_for_shelf(
    collector: &Collector,
    setup: &Setup,
    batches: usize,
) -> Result<Vec<String>> {
    let look = || async {
        let ids = ids(setup).await.ok()?;
        (ids.len() == batches).then_some(ids)
    };
    let found = until("batches in quarantine", look).await;
    found.with_context(|| collector.log().tail())
}

/// A batch that faults every time is tried three times and quarantined. There it can be seen,
/// replayed and dropped. All others are delivered, and the ledger counts them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_faulting_batch_is_put_on_the_shelf() -> Result<()> {
    let backend = Backend::start().await?;
    let config = Config::new(backend.endpoint())
        .stage("stage", &guest("poison")?, "on_fault: refuse")
        .exporter(SOON);
    let mut site = Site::new(&config)?;
    let collector = site.start().await?;
    let mut client = Client::connect(&collector.address("otlp")?).await?;
    let mut shop = Shop::new(8);
    for _ in 0..10 {
        client.send(shop.request(20)).await?;
    }
    site.tell(vec![client.clone()]);
    let bad = marked(&mut shop);
    let items = span_ids(&bad).count();
    client.send(bad).await?;
    let good = shop.request(20);
    site.told.extend(span_ids(&good));
    client.send(good).await?;
    site.arrives(&backend).await?;
    let ids = wait_for_shelf(&collector, &site.setup, 1).await?;
    let id = ids[0].as_str();
    let labels = [("stage", "wasm/stage")];
    let metrics = collector.metrics().await?;
    let offered = (site.told.len() + items) as u64;
    ensure!(metrics.sum("spandrel_stage_in_items_total", &labels) == offered);
    ensure!(metrics.sum("spandrel_stage_retried_items_total", &labels) == 2 * items as u64);

    let (_, list) = quarantine(&site.setup, &["ls"]).await?;
    ensure!(list.contains(id) && list.contains("traces"), "{list}");
    let (_, shown) = quarantine(&site.setup, &["show", id]).await?;
    ensure!(shown.contains("spandrel.test.poison"), "{shown}");
    ensure!(shown.contains("attempts     3"), "{shown}");
    // Its pipeline accepts it, and it fails again.
    let (done, said) = quarantine(&site.setup, &["replay", id]).await?;
    ensure!(done && said.contains("replayed"), "{said}");
    let look = || async {
        let again = self::ids(&site.setup).await.ok()?;
        (again.len() == 1 && again[0] != id).then_some(again)
    };
    let again = until("the batch in quarantine again", look).await?;
    let (done, said) = quarantine(&site.setup, &["drop", id]).await?;
    ensure!(!done && said.contains("no batch"), "{said}");
    let (done, said) = quarantine(&site.setup, &["drop", "--all"]).await?;
    ensure!(done && said.contains(&again[0]), "{said}");
    ensure!(self::ids(&site.setup).await?.is_empty());

    let ended = collector.stop().await?;
    ended.expect_code(0)?;
    let ledger = ended.ledger("traces")?;
    ledger.check()?;
    ensure!(ledger.quarantined == 2 * items as u64, "{ledger:?}");
    ensure!(ledger.exported == site.told.len() as u64, "{ledger:?}");
    Ok(())
}

/// A batch during whose call the process dies is tried three times over the restarts. The others
/// arrive, and the quarantine can be inspected without a collector.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attempts_survive_the_process() -> Result<()> {
    let backend = Backend::start().await?;
    let keys = "on_fault: refuse, limits: { call_deadline: 120s }";
    let config = Config::new(backend.endpoint())
        .stage("stage", &guest("stuck_on_mark")?, keys)
        .service("shards: 1")
        .exporter(SOON);
    let mut site = Site::new(&config)?;
    let mut shop = Shop::new(9);
    let collector = site.start().await?;
    let mut client = Client::connect(&collector.address("otlp")?).await?;
    let bad = marked(&mut shop);
    let marked = span_ids(&bad).count() as u64;
    client.send(bad).await?;
    let good = shop.request(20);
    site.told.extend(span_ids(&good));
    let unmarked = site.told.len() as u64;
    ensure!(unmarked != marked, "the two batches are told by their size");
    client.send(good).await?;
    collector.kill().await?;
    let mut kills = 1;
    let collector = loop {
        let collector = site.start().await?;
        // The batch is in the call, or in quarantine.
        let look = || async {
            let metrics = collector.metrics().await.ok()?;
            let shelved = metrics.sum("spandrel_quarantined_batches_total", &[]) > 0;
            let labels = [("pipeline", "traces")];
            let in_flight = metrics.sum("spandrel_ledger_in_flight_items", &labels);
            // The good batch is in front of it, waits behind it, or has not been read yet.
            let is_marked = [marked, marked + unmarked].contains(&in_flight);
            let in_call = !shelved && is_marked;
            (in_call || shelved).then_some(shelved)
        };
        if until("the batch in its call", look).await? {
            break collector;
        }
        collector.kill().await?;
        kills += 1;
        ensure!(kills <= 4, "killed {kills} times, and still tried");
    };
    // The first call, which its sender waited for, does not count as one of the three.
    ensure!(kills == 4, "put into quarantine after {kills} deaths");
    site.arrives(&backend)
        .await
        .with_context(|| collector.log().tail())?;
    ensure!(wait_for_shelf(&collector, &site.setup, 1).await?.len() == 1);
    collector.stop().await?.expect_code(0)?;
    let output = Command::new(spandrel_tests::artifacts::collector()?)
        .args(["quarantine", "ls", "--dir"])
        .arg(site.setup.file("data"))
        .output()
        .await?;
    let list = String::from_utf8(output.stdout)?;
    ensure!(
        output.status.success() && list.lines().count() == 2,
        "{list}"
    );
    Ok(())
}
