//! The cost of the journal, compared with the same pipeline without one and with the disk alone.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use spandrel_tests::ports::free_address;
use spandrel_tests::until::{say, soon};
use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::Instant;

use super::site::number;

/// The disk's own speed, in files that exist already, like the journal's segments.
struct Disk {
    /// The median time of a write of 64 KiB and its sync.
    sync: Duration,
    /// Bytes a second, in writes of 4 MiB with a sync after each, which is what many concurrent
    /// senders make up.
    rate: f64,
}

impl Disk {
    fn probe(folder: &TempDir) -> Result<Self> {
        let mut times = blocks(folder, 64 << 10)?;
        times.sort();
        let sync = times.get(BLOCKS / 2).copied().context("no times")?;
        let all: Duration = blocks(folder, 4 << 20)?.iter().sum();
        let rate = (BLOCKS * (4 << 20)) as f64 / all.as_secs_f64();
        Ok(Self { sync, rate })
    }
}

const BLOCKS: usize = 64;

/// Returns the time of each block that is written over an old one and synced.
fn blocks(folder: &TempDir, size: usize) -> Result<Vec<Duration>> {
    let file = File::create(folder.path().join("probe"))?;
    let block = vec![7; size];
    let at = |number: usize| (number * size) as u64;
    for number in 0..BLOCKS {
        file.write_all_at(&block, at(number))?;
    }
    file.sync_all()?;
    let one = |number| {
        let began = Instant::now();
        file.write_all_at(&block, at(number))?;
        file.sync_data()?;
        Ok(began.elapsed())
    };
    (0..BLOCKS).map(one).collect()
}

/// Returns a report of `spandrel bench` with these keys of the pipeline.
async fn bench(keys: &str, load: &[&str]) -> Result<Value> {
    let endpoint = free_address()?.to_string();
    let backend = free_address()?.to_string();
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

/// Prints the cost for one sender and for many. On a quiet machine `SPANDREL_STRICT=1` limits the
/// median of an acknowledged call to twice the disk's own sync plus 2 ms. Throughput must be at
/// least 80 % of that without a journal, or of the disk's own if that is lower.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_price_is_told() -> Result<()> {
    let folder = tempfile::tempdir_in(spandrel_tests::artifacts::target_dir()?)?;
    let durable = format!(
        ", durability: {{ dir: \"{}\" }}",
        folder.path().join("data").display()
    );
    let alone = ["--connections", "1", "--in-flight", "1", "--batch", "100"];
    let disk = Disk::probe(&folder)?;
    let one = figure(&bench(&durable, &alone).await?, "/latency_ms/p50")?;
    let plain = figure(&bench("", &[]).await?, "/items_per_second")?;
    let journaled = bench(&durable, &[]).await?;
    let rate = figure(&journaled, "/items_per_second")?;
    let lost = figure(&journaled, "/items/lost")?;
    let carried = disk.rate / figure(&journaled, "/load/bytes_per_item")?;
    let sync = disk.sync.as_secs_f64() * 1000.0;
    say(&format!(
        "the disk syncs 64 KiB in {sync:.2} ms; an acknowledged call takes {one:.2} ms = {:.2} times; {rate:.0} spans a second with the journal, {plain:.0} without = {:.0} %, the disk carries {carried:.0}",
        one / sync,
        100.0 * rate / plain,
    ));
    ensure!(lost == 0.0, "{lost} lost");
    if std::env::var_os("SPANDREL_STRICT").is_some() {
        ensure!(one <= 2.0 * sync + 2.0, "{one:.2} ms beside {sync:.2} ms");
        let possible = plain.min(carried);
        ensure!(rate >= 0.8 * possible, "{rate:.0} beside {possible:.0}");
    }
    Ok(())
}
