//! A guard plugin that fails with `on_fault: pass`: every view shows it.

use anyhow::{Context as _, Result, ensure};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use spandrel_tests::artifacts::guest;
use spandrel_tests::metrics;
use spandrel_tests::shop::span_ids;

use super::{STAGE, Site, at, count, text};

const BEGAN: &str = "plugin bypassed: items pass its stage unjudged";

/// Probes, `plugin ls`, `show`, the metrics and one warning report that items pass unjudged, their
/// number, and how to change that. After the next good build none of them reports it any more.
#[tokio::test]
async fn a_guard_that_fails_open_is_noticed() -> Result<()> {
    let mut site = Site::open(&guest("trap_on_spans")?, "on_fault: pass").await?;
    let health = site.collector.address("health_check")?;
    let (code, before) = metrics::get(&health, "/readyz?verbose").await?;
    ensure!(
        code == 200 && before.contains("[+]stage wasm/stage ok"),
        "{before}"
    );
    site.send(30).await?;
    let sent = site.client.delivered.len() as u64;
    site.backend
        .wait("what passed unjudged", |taken| taken.totals.spans == sent)
        .await?;

    let stage = site.stage().await?;
    ensure!(at(&stage, "/bypassing")? == true, "{stage}");
    ensure!(text(&stage, "/on_fault")? == "pass", "{stage}");
    ensure!(
        count(&stage, "/running/figures/bypassed")? == sent,
        "{stage}"
    );
    let (code, verbose) = metrics::get(&health, "/readyz?verbose").await?;
    let line =
        format!("[!]stage {STAGE} bypassed: {sent} items passed it unjudged (on_fault: pass)");
    ensure!(code == 200 && verbose.contains(&line), "{verbose}");
    let listed = site.run(&["plugin", "ls"]).await?;
    ensure!(listed.contains("  bypassed  "), "{listed}");
    ensure!(
        listed.contains("items passed unjudged (on_fault: pass)"),
        "{listed}"
    );
    let scrape = site.collector.metrics().await?;
    let labels = [("stage", STAGE)];
    ensure!(scrape.sum("spandrel_stage_bypassing", &labels) == 1);
    ensure!(scrape.sum("spandrel_generation_bypassed_items_total", &labels) == sent);

    let told = site
        .collector
        .log()
        .find(|line| line.message().contains(BEGAN));
    let told = told.map(|line| line.raw).unwrap_or_default();
    for word in [
        "\"WARN\"",
        STAGE,
        "\"traces\"",
        "`on_fault: refuse`",
        "`on_fault: drop`",
    ] {
        ensure!(told.contains(word), "{word} is not in {told}");
    }
    ensure!(
        site.said(BEGAN) == 1,
        "it is told {} times",
        site.said(BEGAN)
    );

    let good = guest("unchanged")?.display().to_string();
    site.run(&["plugin", "swap", "stage", &good]).await?;
    let stage = site.stage().await?;
    ensure!(at(&stage, "/bypassing")? == false, "{stage}");
    let (_, verbose) = metrics::get(&health, "/readyz?verbose").await?;
    ensure!(verbose.contains("[+]stage wasm/stage ok\n"), "{verbose}");
    let ended = site.collector.stop().await?;
    ended.expect_code(0)?;
    ended.ledger("traces")?.check()
}

/// If the configuration asks for it, readiness fails while items pass unjudged, and succeeds again
/// with a build that judges. Liveness and the Collector's own answer do not change.
#[tokio::test]
async fn readiness_follows_a_guard() -> Result<()> {
    let keys = "on_fault: pass, bypass_fails_readiness: true";
    let mut site = Site::open(&guest("trap_on_spans")?, keys).await?;
    let health = site.collector.address("health_check")?;
    let ask = async |path| metrics::get(&health, path).await;
    ensure!(ask("/readyz").await?.0 == 200);
    site.send(1).await?;
    let (code, why) = ask("/readyz").await?;
    ensure!(code == 503 && why.contains(STAGE), "{code}: {why}");
    let (code, why) = ask("/readyz?verbose").await?;
    ensure!(
        code == 503 && why.contains("[-]stage wasm/stage bypassed"),
        "{why}"
    );
    for path in ["/", "/livez"] {
        ensure!(ask(path).await?.0 == 200, "{path}");
    }
    let good = guest("unchanged")?.display().to_string();
    site.run(&["plugin", "swap", "stage", &good]).await?;
    ensure!(ask("/readyz").await?.0 == 200);
    site.collector.stop().await?.expect_code(0)
}

/// A guard with `on_fault: drop`, as in the documentation, lets nothing pass, and nothing is
/// reported as unjudged.
#[tokio::test]
async fn a_guard_that_drops_lets_nothing_past() -> Result<()> {
    let mut site = Site::open(&guest("trap_on_spans")?, "on_fault: drop").await?;
    site.send(10).await?;
    let sent = site.client.delivered.len() as u64;
    let stage = site.stage().await?;
    ensure!(count(&stage, "/dropped/fault")? == sent, "{stage}");
    ensure!(at(&stage, "/bypassing")? == false, "{stage}");
    ensure!(site.said(BEGAN) == 0);
    let ended = site.collector.stop().await?;
    ended.expect_code(0)?;
    ended.ledger("traces")?.check()?;
    ensure!(
        site.backend.totals().spans == 0,
        "spans passed a guard that failed"
    );
    Ok(())
}

/// A plugin that failed on one batch judges the next one. The failed batch passed unjudged, and is
/// noted.
#[tokio::test]
async fn one_fault_is_no_end() -> Result<()> {
    let mut site = Site::open(&guest("poison")?, "on_fault: pass").await?;
    let mut poisoned = site.shop.request(20);
    let marked = poisoned.resource_spans.first_mut();
    let resource = marked.and_then(|spans| spans.resource.as_mut());
    let resource = resource.context("no resource")?;
    resource.attributes.push(KeyValue {
        key: "spandrel.test.poison".to_owned(),
        ..KeyValue::default()
    });
    let bypassed = span_ids(&poisoned).count() as u64;
    site.client.send(poisoned).await?;
    site.send(50).await?;
    let stage = site.stage().await?;
    ensure!(count(&stage, "/running/figures/faults")? == 1, "{stage}");
    ensure!(
        count(&stage, "/running/figures/bypassed")? == bypassed,
        "{stage}"
    );
    ensure!(count(&stage, "/running/figures/calls")? >= 51, "{stage}");
    ensure!(count(&stage, "/breakers_open")? == 0, "{stage}");
    let listed = site.run(&["plugin", "ls"]).await?;
    let note = format!("{bypassed} items passed unjudged (on_fault: pass)");
    ensure!(listed.contains(&note), "{listed}");
    site.collector.stop().await?.expect_code(0)
}
