//! The commands of the admin API for a running stage, and the history of them.

use std::os::unix::fs::PermissionsExt as _;

use anyhow::{Result, ensure};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use serde_json::{Value, json};
use spandrel_tests::admin::{Admin, Report};
use spandrel_tests::artifacts::{self, guest, plugin, sdk_guest};
use spandrel_tests::backend::Backend;
use spandrel_tests::client::Client;
use spandrel_tests::collector::{Collector, Setup};
use spandrel_tests::config::Config;
use spandrel_tests::shop::{Shop, span_ids};

const STAGE: &str = "wasm/stage";

struct Running {
    backend: Backend,
    collector: Collector,
    admin: Admin,
    client: Client,
    setup: Setup,
}

async fn start() -> Result<Running> {
    let backend = Backend::start().await?;
    let module = plugin("drop-duplicates")?;
    let keys = "config: { window: 10m }, probation: { time: 300ms, batches: 3 }";
    let config = Config::new(backend.endpoint()).stage("stage", &module, keys);
    let setup = Setup::new(&config.yaml())?.admin();
    let collector = Collector::start(&setup).await?;
    Ok(Running {
        admin: collector.admin()?,
        client: Client::connect(&collector.address("otlp")?).await?,
        backend,
        collector,
        setup,
    })
}

impl Running {
    /// Sends the spans again. None of them gets through, which proves that the state is there.
    async fn finish(mut self, first: ExportTraceServiceRequest) -> Result<()> {
        let again = span_ids(&first).count() as u64;
        self.client.send(first).await?;
        let ended = self.collector.stop().await?;
        ended.expect_code(0)?;
        let ledger = ended.ledger("traces")?;
        ledger.check()?;
        ensure!(ledger.dropped == again, "{again} came again: {ledger:?}");
        ensure!(self.backend.taken().duplicates() == 0, "{ledger:?}");
        Ok(())
    }
}

/// A swap passes its probation, and two rollbacks follow by command. The history shows each with
/// the one who asked, and the state is carried each time.
#[tokio::test]
async fn a_rollback_is_asked_for() -> Result<()> {
    let mut it = start().await?;
    let first = Shop::new(21).request(60);
    it.client.send(first.clone()).await?;
    let report = it
        .admin
        .swap(STAGE, &sdk_guest("drop_duplicates_next")?)
        .await?;
    ensure!(
        report.state == "carried" && report.generation == 2,
        "{report:?}"
    );
    let mut shop = Shop::new(22);
    for _ in 0..10 {
        it.client.send(shop.request(20)).await?;
    }
    let passed = it.admin.wait_for(STAGE, "passed", 0).await?;
    ensure!(
        passed.by == "probation" && passed.generation == 2,
        "{passed:?}"
    );
    for (from, to) in [(2, 1), (1, 2)] {
        let report: Report = it.admin.ask_to("rollback", STAGE).await?.ok()?;
        let right = report.outcome == "rolled back" && report.state == "carried";
        ensure!(
            right && (report.previous, report.generation) == (from, to),
            "{report:?}"
        );
    }
    let history = it.admin.history().await?;
    let told: Vec<(&str, &str, u64)> = history
        .iter()
        .map(|event| (event.event.as_str(), event.by.as_str(), event.generation))
        .collect();
    let expected = [
        ("loaded", "start", 1),
        ("published", "admin", 2),
        ("passed", "probation", 2),
        ("rolled back", "admin", 1),
        ("rolled back", "admin", 2),
    ];
    ensure!(told == expected, "{told:?}");
    it.finish(first).await
}

/// A dry run says whether a swap would work, and changes nothing. The same module is no change;
/// another config is one.
#[tokio::test]
async fn what_a_swap_would_do_is_told() -> Result<()> {
    let mut it = start().await?;
    let first = Shop::new(23).request(60);
    it.client.send(first.clone()).await?;
    let next = sdk_guest("drop_duplicates_next")?;
    let dry = json!({ "module": next, "dry_run": true });
    let report: Report = it.admin.ask_swap(STAGE, &dry).await?.ok()?;
    ensure!(report.outcome == "would publish", "{report:?}");
    let bad = json!({ "module": guest("trap_in_configure")?, "dry_run": true });
    it.admin.ask_swap(STAGE, &bad).await?.refusal(422)?;
    let same: Report = it.admin.ask_swap(STAGE, &json!({})).await?.ok()?;
    ensure!(same.outcome == "unchanged", "{same:?}");
    ensure!(it.admin.running(STAGE).await? == 1);
    let other = json!({ "config": { "window": "20m" } });
    let report: Report = it.admin.ask_swap(STAGE, &other).await?.ok()?;
    let right = report.outcome == "published" && report.state == "carried";
    ensure!(right && report.sha256 == same.sha256, "{report:?}");
    let wrong = json!({ "config": { "window": "no time" } });
    let reason = it.admin.ask_swap(STAGE, &wrong).await?.refusal(422)?;
    ensure!(reason.contains("refused its config"), "{reason}");
    it.finish(first).await
}

/// An uploaded module is swapped in, if it has the requested digest.
#[tokio::test]
async fn a_module_is_uploaded() -> Result<()> {
    let mut it = start().await?;
    let first = Shop::new(24).request(60);
    it.client.send(first.clone()).await?;
    let bytes = std::fs::read(sdk_guest("drop_duplicates_next")?)?;
    let wrong = format!("sha256={}", "0".repeat(64));
    let reason = it.admin.upload(STAGE, &wrong, &bytes).await?.refusal(422)?;
    ensure!(reason.contains("sha256"), "{reason}");
    let dry: Report = it.admin.upload(STAGE, "dry_run=true", &bytes).await?.ok()?;
    let right = format!("sha256={}", dry.sha256);
    let report: Report = it.admin.upload(STAGE, &right, &bytes).await?.ok()?;
    ensure!(report.outcome == "published" && report.state == "carried");
    let view = it.admin.stage(STAGE).await?;
    let of = |pointer: &str| view.pointer(pointer).cloned().unwrap_or_default();
    ensure!(of("/running/module") == "upload", "{view}");
    ensure!(of("/running/version") == "0.2.0", "{view}");
    ensure!(of("/running/sha256") == report.sha256.as_str(), "{view}");
    ensure!(of("/previous/number") == 1, "{view}");
    it.finish(first).await
}

/// `spandrel schema` prints the JSON Schema that is in the repository.
#[test]
fn the_schema_is_printed() -> Result<()> {
    let output = std::process::Command::new(artifacts::collector()?)
        .arg("schema")
        .output()?;
    ensure!(output.status.success(), "{output:?}");
    let file = artifacts::root().join("host/config/schema.json");
    ensure!(
        output.stdout == std::fs::read(file)?,
        "another schema is printed than host/config/schema.json"
    );
    Ok(())
}

/// Only its owner can use the socket. A request for something that does not exist is told what
/// exists.
#[tokio::test]
async fn the_socket_is_private() -> Result<()> {
    let it = start().await?;
    let mode = std::fs::metadata(it.setup.file("admin.sock"))?.permissions();
    ensure!(mode.mode() & 0o777 == 0o600, "{mode:?}");
    let reason = it
        .admin
        .ask_to("rollback", "wasm/stag")
        .await?
        .refusal(404)?;
    ensure!(reason.contains("wasm/stage"), "{reason}");
    let reason = it.admin.ask_to("rollback", STAGE).await?.refusal(404)?;
    ensure!(reason.contains("no other generation"), "{reason}");
    let answer: Value = it.admin.get("/v1/stages").await?;
    ensure!(
        answer.pointer("/0/running/number") == Some(&json!(1)),
        "{answer}"
    );
    let ended = it.collector.stop().await?;
    ended.expect_code(0)
}
