//! What the journal costs, beside the same pipeline without one and the disk alone.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use spandrel_tests::until::{say, soon};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::time::Instant;

use super::site::number;

/// The median time of a sync of 64 KiB in the middle of a file that is there already.
fn sync_alone(folder: &TempDir) -> Result<Duration> {
    const BLOCK: usize = 64 << 10;
    let file = File::create(folder.path().join("probe"))?;
    let block = vec![7; BLOCK];
    for at in 0..64 {
        file.write_all_at(&block, at * BLOCK as u64)?;
    }
    file.sync_all()?;
    let mut times = Vec::new();
    for at in 0..64 {
        file.write_all_at(&block, at * BLOCK as u64)?;
        let began = Instant::now();
        file.sync_data()?;
        times.push(began.elapsed());
    }
    times.sort();
    times.get(32).copied().context("no times")
}

/// A report of `spandrel bench` with these keys of the pipeline.
async fn bench(keys: &str, load: &[&str]) -> Result<Value> {
    let port = async || {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        anyhow::Ok(listener.local_addr()?.to_string())
    };
    let (endpoint, backend) = (port().await?, port().await?);
    let config = format!(
        "yaml:{{ receivers: {{ otlp: {{ protocols: {{ grpc: {{ endpoint: \"{endpoint}\" }} }} }} }}, \
         exporters: {{ otlp_grpc: {{ endpoint: \"http://{backend}\", compression: none }} }}, \
         service: {{ telemetry: {{ metrics: {{ level: none }} }}, pipelines: {{ \
         traces: {{ receivers: [otlp], exporters: [otlp_grpc]{keys} }} }} }} }}"
    );
    let duration = format!("{}s", number("SPANDREL_PRICE_SECONDS", 2));
    let output = Command::new(spandrel_tests::artifacts::collector()?)
        .args([
            "bench",
            "-o",
            "json",
            "--warm-up",
            "1s",
            "--duration",
            &duration,
        ])
        .args([
            "--endpoint",
            &endpoint,
            "--backend",
            &backend,
            "--config",
            &config,
        ])
        .args(load)
        .output();
    let output = soon("the bench", output).await??;
    let text = String::from_utf8(output.stdout)?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    serde_json::from_str(&text).with_context(|| format!("{text}{said}"))
}

fn figure(report: &Value, path: &str) -> Result<f64> {
    let figure = report.pointer(path).and_then(Value::as_f64);
    figure.with_context(|| format!("no {path} in {report}"))
}

/// One sender alone, and many. On a quiet machine `SPANDREL_STRICT=1` holds the median of an acknowledged
/// call to twice the disk's own sync and 2 ms, and throughput to 80 %, for what the disk carries.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_price_is_told() -> Result<()> {
    let folder = tempfile::tempdir_in(spandrel_tests::artifacts::target_dir()?)?;
    let durable = format!(
        ", durability: {{ dir: \"{}\" }}",
        folder.path().join("data").display()
    );
    let alone = ["--connections", "1", "--in-flight", "1", "--batch", "100"];
    let disk = sync_alone(&folder)?;
    let one = figure(&bench(&durable, &alone).await?, "/latency_ms/p50")?;
    let plain = figure(&bench("", &[]).await?, "/items_per_second")?;
    let journaled = bench(&durable, &[]).await?;
    let rate = figure(&journaled, "/items_per_second")?;
    let lost = figure(&journaled, "/items/lost")?;
    let disk = disk.as_secs_f64() * 1000.0;
    say(&format!(
        "the disk syncs 64 KiB in {disk:.2} ms; an acknowledged call takes {one:.2} ms = {:.2} times; {rate:.0} spans a second with the journal, {plain:.0} without = {:.0} %",
        one / disk,
        100.0 * rate / plain,
    ));
    ensure!(lost == 0.0, "{lost} lost");
    if std::env::var_os("SPANDREL_STRICT").is_some() {
        ensure!(one <= 2.0 * disk + 2.0, "{one:.2} ms beside {disk:.2} ms");
        ensure!(rate >= 0.8 * plain, "{rate:.0} beside {plain:.0}");
    }
    Ok(())
}
