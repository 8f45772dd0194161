//! A journal that is damaged, or in use.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use spandrel_tests::backend::Backend;
use spandrel_tests::client::Client;
use spandrel_tests::collector::{Collector, Setup};
use spandrel_tests::config::Config;
use spandrel_tests::shop::{Shop, span_ids};

use super::site::{SOON, Site};

/// Returns the segments below a folder.
fn segments(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            all.append(&mut segments(&path)?);
        } else if path
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with("segment-"))
        {
            all.push(path);
        }
    }
    Ok(all)
}

/// Changes a byte of the record that contains this span. Returns the number of changed records.
fn damage(dir: &Path, span: u64) -> Result<usize> {
    let wanted = span.to_be_bytes();
    let mut damaged = 0;
    for path in segments(dir)? {
        let mut bytes = std::fs::read(&path)?;
        let mut windows = bytes.windows(wanted.len());
        if let Some(at) = windows.position(|window| window == wanted) {
            bytes[at + 3] ^= 0x10;
            std::fs::write(&path, bytes)?;
            damaged += 1;
        }
    }
    Ok(damaged)
}

/// A record with a damaged byte is counted and logged. The start continues, and all other records
/// arrive.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_record_is_counted() -> Result<()> {
    let mut backend = Backend::start().await?;
    let mut site = Site::new(&Config::new(backend.endpoint()).exporter(SOON))?;
    let collector = site.start().await?;
    backend.go_away().await?;
    let mut client = Client::connect(&collector.address("otlp")?).await?;
    let mut shop = Shop::new(10);
    let mut requests = Vec::new();
    for _ in 0..10 {
        let request = shop.request(20);
        requests.push(span_ids(&request).collect::<Vec<u64>>());
        client.send(request).await?;
    }
    collector.kill().await?;
    let bad = &requests[4];
    ensure!(damage(&site.data(), bad[0])? >= 1, "no record has the span");
    site.told = requests.iter().flatten().copied().collect();
    for id in bad {
        site.told.remove(id);
    }
    backend.come_back()?;
    let collector = site.start().await?;
    site.arrives(&backend)
        .await
        .with_context(|| collector.log().tail())?;
    let lines = collector.log().lines();
    let said = lines
        .iter()
        .find(|line| line.message().contains("are damaged"));
    let said = said.with_context(|| collector.log().tail())?;
    ensure!(said.count("records") == Some(1), "{}", said.raw);
    let metrics = collector.metrics().await?;
    ensure!(metrics.sum("spandrel_journal_damaged_records_total", &[]) == 1);
    collector.stop().await?.expect_code(0)
}

/// A second collector on the same folder does not start, and names the process that has it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_has_one_collector() -> Result<()> {
    let backend = Backend::start().await?;
    let site = Site::new(&Config::new(backend.endpoint()))?;
    let collector = site.start().await?;
    let second = Collector::spawn(&site.setup)?.wait().await?;
    second.expect_code(1)?;
    let lines = second.log.lines();
    let said = lines
        .iter()
        .any(|line| line.raw.contains("is in use by process") && line.raw.contains("data/traces"));
    ensure!(said, "{}", second.log.tail());
    collector.stop().await?.expect_code(0)
}

/// A reload that changes the `durability` of a pipeline says that this needs a restart, and applies
/// everything else. A durable pipeline that is added works.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_journal_changes_with_a_restart() -> Result<()> {
    let backend = Backend::start().await?;
    let site = Site::new(&Config::new(backend.endpoint()))?;
    let collector = site.start().await?;
    let admin = collector.admin()?;
    let yaml = std::fs::read_to_string(site.setup.file("spandrel.yaml"))?;
    let changed = yaml
        .replace("dir: \"data\"", "dir: \"elsewhere\"")
        .replace(
            "    logs: {",
            "    traces/more: { receivers: [otlp], exporters: [otlp_grpc], durability: { dir: data } },\n    logs: {",
        );
    std::fs::write(site.setup.file("spandrel.yaml"), changed)?;
    let report: serde_json::Value = admin.ask("POST", "/v1/reload", "", b"").await?.ok()?;
    let said = report.to_string();
    ensure!(
        said.contains("service::pipelines::traces::durability: not changed"),
        "{said}"
    );
    ensure!(said.contains("pipeline traces/more added"), "{said}");
    ensure!(site.setup.file("data").join("traces%2Fmore").is_dir());
    ensure!(!site.setup.file("elsewhere").exists());
    let mut client = Client::connect(&collector.address("otlp")?).await?;
    client.send(Shop::new(11).request(10)).await?;
    let twice = 2 * client.delivered.len() as u64;
    backend
        .wait("both pipelines", |taken| taken.totals.spans >= twice)
        .await?;
    collector.stop().await?.expect_code(0)
}

/// `validate` reports a folder that cannot be made, and does not make one that can.
#[tokio::test]
async fn validate_looks_at_the_folder() -> Result<()> {
    let config = Config::new("http://127.0.0.1:1");
    for (dir, code) in [("data", 0), ("spandrel.yaml/data", 64)] {
        let yaml = config
            .clone()
            .traces(&format!("durability: {{ dir: \"{dir}\" }}"))
            .yaml();
        let setup = Setup::bare()?;
        let file = setup.file("spandrel.yaml");
        std::fs::write(&file, yaml)?;
        let setup = setup.arg("validate").arg("--config").arg(&file);
        let ended = Collector::spawn(&setup)?.wait().await?;
        ended.expect_code(code)?;
        ensure!(!setup.file("data").exists());
        let log = ended.log.tail();
        ensure!(code == 0 || log.contains("durability::dir"), "{log}");
    }
    Ok(())
}
