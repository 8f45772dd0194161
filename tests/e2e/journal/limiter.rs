//! `memory_limiter`, with the Collector's keys.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use spandrel_tests::backend::Backend;
use spandrel_tests::client::{Client, retry_after};
use spandrel_tests::collector::{Collector, Setup};
use spandrel_tests::config::Config;
use spandrel_tests::shop::Shop;
use tonic::Code;

/// Above the soft limit senders get UNAVAILABLE with RetryInfo; below it everything is accepted
/// again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_much_memory_refuses() -> Result<()> {
    let backend = Backend::start().await?;
    let limited = |mib: u32| {
        let yaml = Config::new(backend.endpoint()).yaml();
        let limiter = format!(
            "processors:\n  memory_limiter: {{ check_interval: 20ms, limit_mib: {mib} }}\nexporters:"
        );
        yaml.replace("exporters:\n", &format!("{limiter}\n"))
            .replace("processors: []", "processors: [memory_limiter]")
    };
    let setup = Setup::new(&limited(1))?.admin();
    let collector = Collector::start(&setup).await?;
    collector
        .wait_for_message("Memory usage is above soft limit. Refusing data.")
        .await?;
    let client = Client::connect(&collector.address("otlp")?).await?;
    let mut client = client.patient_for(Duration::ZERO);
    let refused = client.try_send(Shop::new(1).request(5)).await;
    let status = refused.err().context("it was taken")?;
    ensure!(status.code() == Code::Unavailable, "{status}");
    ensure!(retry_after(&status).is_some(), "{status}");
    let metrics = collector.metrics().await?;
    ensure!(metrics.sum("spandrel_memory_limiter_refusing", &[]) == 1);

    std::fs::write(setup.file("spandrel.yaml"), limited(100_000))?;
    let report: serde_json::Value = collector
        .admin()?
        .ask("POST", "/v1/reload", "", b"")
        .await?
        .ok()?;
    client
        .send(Shop::new(2).request(5))
        .await
        .with_context(|| report.to_string())?;
    collector.stop().await?.expect_code(0)
}
