//! `spandrel bench` of a collector whose plugin fails: nothing is lost, but the run is not good.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use spandrel_tests::artifacts::{collector, guest};
use spandrel_tests::collector::Setup;
use spandrel_tests::config::Config;
use spandrel_tests::ports::free_address;
use spandrel_tests::until::soon;
use tokio::process::Command;

/// The number of items that are sent, in requests of 100.
const ITEMS: &str = "2000";

/// Returns the exit code and the report of a run with this plugin.
async fn bench(module: &Path) -> Result<(Option<i32>, Value)> {
    let endpoint = free_address()?.to_string();
    let backend = free_address()?.to_string();
    let config = Config::new(format!("http://{backend}"));
    let config = config.stage("stage", module, "on_fault: pass").yaml();
    let setup = Setup::new(&config.replacen("127.0.0.1:0", &endpoint, 1))?;
    let output = Command::new(collector()?)
        .args(["bench", "-o", "json", "--batch", "100", "--warm-up", "100"])
        .args(["--count", ITEMS, "--connections", "1", "--in-flight", "1"])
        .args(["--endpoint", &endpoint, "--backend", &backend, "--config"])
        .arg(setup.file("spandrel.yaml"))
        .envs(setup.environment())
        .kill_on_drop(true)
        .output();
    let output = soon("the bench", output).await??;
    let text = String::from_utf8(output.stdout)?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let report = serde_json::from_str(&text).with_context(|| format!("{text}{said}"))?;
    Ok((output.status.code(), report))
}

/// With a plugin that traps on every batch, and whose batches pass as they came, every item
/// arrives, but the run is not good. The report says how many calls failed: all of them.
#[tokio::test]
async fn a_run_with_faults_is_not_good() -> Result<()> {
    let (code, report) = bench(&guest("trap")?).await?;
    ensure!(report["items"]["lost"] == 0, "{report}");
    // The count includes the warm-up. While the breaker is open, batches pass without a call.
    let faults = report["collector"]["faults"].as_u64();
    let faults = faults.with_context(|| report.to_string())?;
    ensure!((1..=21).contains(&faults), "{report}");
    ensure!(report["verdict"]["ok"] == false, "{report}");
    let remarks = report["verdict"]["remarks"].to_string();
    let told = format!("plugins failed {faults} times");
    ensure!(remarks.contains(&told), "{remarks}");
    ensure!(code == Some(3), "{code:?}");
    Ok(())
}

/// With a working plugin the report says that no call failed.
#[tokio::test]
async fn a_run_without_faults_is_good() -> Result<()> {
    let (code, report) = bench(&guest("unchanged")?).await?;
    ensure!(report["collector"]["faults"] == 0, "{report}");
    ensure!(report["verdict"]["ok"] == true, "{report}");
    ensure!(code == Some(0), "{code:?}");
    Ok(())
}
