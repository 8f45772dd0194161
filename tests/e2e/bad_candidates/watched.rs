//! A bad plugin in a watched file.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use spandrel_tests::artifacts::guest;
use spandrel_tests::backend::Backend;
use spandrel_tests::collector::{Collector, Setup};
use spandrel_tests::config::Config;

use super::STAGE;
use super::traffic::Traffic;

/// Replaces a plugin as deployments do: it is copied under another name, then moved.
fn deploy(name: &str, to: &Path) -> Result<()> {
    let beside = to.with_extension("next");
    std::fs::copy(guest(name)?, &beside)?;
    Ok(std::fs::rename(beside, to)?)
}

/// A changed file is loaded automatically, and a failed plugin is rolled back. The failed one is
/// not loaded again when its file comes back, but another one is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_failed_is_not_loaded_again() -> Result<()> {
    let backend = Backend::start().await?;
    backend.keep();
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("plugin.wasm");
    deploy("stateful", &file)?;
    let keys = "on_fault: pass, config: { call: 30 }";
    let config = Config::new(backend.endpoint()).stage("stage", &file, keys);
    let collector = Collector::start(&Setup::new(&config.yaml())?.admin()).await?;
    let admin = collector.admin()?;
    let traffic = Traffic::start(&collector.address("otlp")?, 92).await?;
    traffic.flows().await?;
    let acted = async {
        deploy("trap_on_the_thousandth", &file)?;
        let bad = admin.wait_for(STAGE, "published", 0).await?;
        ensure!(bad.by == "file", "{bad:?}");
        let back = admin.wait_for(STAGE, "rolled back", bad.sequence).await?;
        ensure!(back.by == "probation" && back.generation == 1, "{back:?}");
        deploy("unchanged", &file)?;
        let good = admin.wait_for(STAGE, "published", back.sequence).await?;
        deploy("trap_on_the_thousandth", &file)?;
        let refused = admin.wait_for(STAGE, "refused", good.sequence).await?;
        ensure!(refused.detail.contains("failed before"), "{refused:?}");
        ensure!(admin.running(STAGE).await? == good.generation);
        // It may be tried again by hand.
        let report = admin.swap(STAGE, &file).await?;
        ensure!(report.outcome == "published", "{report:?}");
        let back = admin
            .wait_for(STAGE, "rolled back", refused.sequence)
            .await?;
        // The one before was on probation itself, so the last proven generation comes back.
        ensure!(back.generation == 1, "{back:?}");
        anyhow::Ok(())
    };
    acted.await.with_context(|| collector.log().tail())?;
    let sent = traffic.stop().await?;
    let ended = collector.stop().await?;
    ended.expect_code(0)?;
    ended.ledger("traces")?.check()?;
    ensure!(sent.missing_at(&backend)? == 0, "spans were lost");
    Ok(())
}
