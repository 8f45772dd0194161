//! The OpenTelemetry SDK for Python, used like in an application, against a collector that is being
//! stopped: the spans that the SDK believes delivered are at the backend. Also runs Prometheus' own
//! parser on the collector's metrics.
//!
//! Needs python3 and its packages (`tests/python/requirements.txt`), which the test installs into a
//! virtual environment under the target directory. Without python3 it prints a clear message and
//! passes; with `CI=true` it fails.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use parking_lot::Mutex;
use serde_json::Value;
use spandrel_tests::artifacts;
use spandrel_tests::backend::Backend;
use spandrel_tests::client::Client;
use spandrel_tests::collector::{Collector, Setup};
use spandrel_tests::config::Config;
use spandrel_tests::metrics;
use spandrel_tests::shop::Shop;
use spandrel_tests::until::{not_run, soon};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::sleep;

/// Locks the making of the environment: the first test makes it for all.
static MAKING: Mutex<()> = Mutex::new(());

/// Returns the interpreter of the virtual environment, or `None` if there is no python3.
fn interpreter() -> Result<Option<PathBuf>> {
    let _making = MAKING.lock();
    let found = Command::new("python3")
        .args(["-c", "import venv, ensurepip"])
        .output();
    if !found.is_ok_and(|output| output.status.success()) {
        return Ok(None);
    }
    let requirements = artifacts::root().join("tests/python/requirements.txt");
    let wanted = std::fs::read_to_string(&requirements)?;
    let folder = artifacts::target_dir()?.join("spandrel-test-python");
    let (python, stamp) = (folder.join("bin/python"), folder.join("installed.txt"));
    if std::fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(Some(python));
    }
    let run = |command: &mut Command| -> Result<()> {
        let status = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status()?;
        ensure!(status.success(), "{command:?}: {status}");
        Ok(())
    };
    run(Command::new("python3")
        .args(["-m", "venv", "--clear"])
        .arg(&folder))?;
    let mut install = Command::new(&python);
    install.args(["-m", "pip", "install", "--quiet", "--requirement"]);
    run(install.arg(&requirements)).context("cannot install the SDK")?;
    std::fs::write(stamp, wanted)?;
    Ok(Some(python))
}

/// Prometheus' own parser reads the metrics, and finds a type and a help text for each of them.
#[tokio::test]
async fn prometheus_parser_reads_the_metrics() -> Result<()> {
    let Some(python) = interpreter()? else {
        return not_run(
            "the test with Prometheus' own parser",
            "there is no python3 with venv",
        );
    };
    let backend = Backend::start().await?;
    let module = artifacts::plugin("drop-health-checks")?;
    // Its own metrics have values such as NaN and infinity.
    let odd = artifacts::guest("odd_numbers")?;
    let config = Config::new(backend.endpoint())
        .stage("stage", &module, "")
        .stage("odd", &odd, "");
    let collector = Collector::start(&Setup::new(&config.yaml())?.admin()).await?;
    let mut client = Client::connect(&collector.address("otlp")?).await?;
    client.send(Shop::new(9).request(50)).await?;
    let other = serde_json::json!({ "config": { "routes": ["/x"] } });
    let swapped = collector.admin()?.ask_swap("wasm/stage", &other).await?;
    ensure!(swapped.code == 200, "{swapped:?}");
    let (_, scrape) = metrics::get(&collector.address("metrics")?, "/metrics").await?;
    let mut parser = tokio::process::Command::new(&python)
        .arg(artifacts::root().join("tests/python/metrics.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut stdin = parser.stdin.take().context("no stdin")?;
    stdin.write_all(scrape.as_bytes()).await?;
    drop(stdin);
    let parsed = soon("the parser's end", parser.wait_with_output()).await??;
    ensure!(parsed.status.success(), "{scrape}");
    let families: serde_json::Map<String, Value> = serde_json::from_slice(&parsed.stdout)?;
    ensure!(families.len() > 40, "{families:?}");
    for (name, family) in &families {
        let is_told = family["help"]
            .as_str()
            .is_some_and(|help| help.ends_with('.'));
        ensure!(is_told && family["type"] != "unknown", "{name}: {family}");
    }
    let swaps = &families["spandrel_stage_swap_duration_seconds"];
    ensure!(swaps["type"] == "summary", "{swaps}");
    collector.stop().await?.expect_code(0)
}

/// Every span whose export the SDK was told succeeded is at the backend, no matter when the
/// collector was stopped; so are metrics on the same port. (The duration of the last flush after
/// the collector is gone is up to the SDK: it retries until its exporter's timeout, whatever
/// `force_flush` was given.)
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_python_sdk_believes_delivered_is_delivered() -> Result<()> {
    let Some(python) = interpreter()? else {
        return not_run(
            "the test of the Python SDK",
            "there is no python3 with venv",
        );
    };
    for after in [150, 700] {
        let after = Duration::from_millis(after);
        stopped(&python, after)
            .await
            .with_context(|| format!("SIGTERM after {after:?}"))?;
    }
    Ok(())
}

async fn stopped(python: &PathBuf, after: Duration) -> Result<()> {
    let backend = Backend::start().await?;
    let config = Config::new(backend.endpoint()).stage(
        "drop_health_checks",
        &artifacts::plugin("drop-health-checks")?,
        "",
    );
    let setup = Setup::new(&config.yaml())?;
    let (result, complaints) = (setup.file("result.json"), setup.file("complaints.log"));
    let collector = Collector::start(&setup).await?;
    let mut application = tokio::process::Command::new(python)
        .arg(artifacts::root().join("tests/python/client.py"))
        .arg(format!("http://{}", collector.address("otlp")?))
        .arg(&result)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(File::create(&complaints)?)
        .kill_on_drop(true)
        .spawn()?;
    let mut out = application.stdout.take().context("no stdout")?;
    let mut started = [0_u8; 8];
    soon("the application's start", out.read_exact(&mut started)).await??;
    backend
        .wait("the first spans", |taken| taken.totals.spans > 0)
        .await?;
    sleep(after).await;
    collector.sigterm()?;
    drop(application.stdin.take());
    let status = soon("the application's end", application.wait()).await??;
    let complaints = std::fs::read_to_string(complaints)?;
    ensure!(status.success(), "the application: {status}\n{complaints}");
    let ended = collector.wait().await?;
    ended.expect_code(0)?;
    for pipeline in ["traces", "metrics"] {
        ended.ledger(pipeline)?.check()?;
    }
    let result: Value = serde_json::from_slice(&std::fs::read(result)?)?;
    let delivered = result["delivered"].as_array().context("no ids")?;
    ensure!(!delivered.is_empty(), "the SDK delivered nothing: {result}");
    let taken = backend.taken();
    for id in delivered {
        let id = u64::from_str_radix(id.as_str().context("no id")?, 16)?;
        ensure!(
            taken.spans.contains_key(&id),
            "the SDK believes in {id:016x}: {}",
            ended.log.tail()
        );
    }
    let metrics = result["metrics_delivered"].as_u64().context("no count")?;
    // Each export has at least one point of the counter.
    let points = taken.metrics.iter().flat_map(|one| &one.resource_metrics);
    let points = points.flat_map(|one| &one.scope_metrics);
    let points = points.flat_map(|one| &one.metrics).count() as u64;
    ensure!(
        metrics > 0 && points >= metrics,
        "{points} points: {result}"
    );
    Ok(())
}
