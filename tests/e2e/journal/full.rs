//! A full disk: a tmpfs of 64 MiB.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use spandrel_tests::backend::Backend;
use spandrel_tests::client::{Client, retry_after};
use spandrel_tests::config::Config;
use spandrel_tests::shop::Shop;
use spandrel_tests::tmpfs::{Tmpfs, in_a_namespace};
use spandrel_tests::until::{say, until};
use tokio::time::{Instant, timeout};
use tonic::Code;

use super::site::Site;

/// Short waits between retries. An attempt has enough time for a machine that does other things
/// too: an attempt that is aborted and repeated costs such a machine more.
const SOON: &str =
    "retry_on_failure: { initial_interval: 20ms, max_interval: 100ms }, timeout: 20s";

/// On a full disk senders get UNAVAILABLE with RetryInfo, and exporting continues. Later new spans
/// are accepted again without help, and nothing that was acknowledged is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_passes() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let dir = folder.path().join("disk");
    let Some(_tmpfs) = Tmpfs::mount(&dir, 64)? else {
        return in_a_namespace("journal::full::a_full_disk_passes");
    };
    let mut backend = Backend::start().await?;
    let config = Config::new(backend.endpoint()).exporter(SOON);
    let mut site = Site::with(&config, &dir.display().to_string(), "")?;
    let collector = site.start().await?;
    backend.go_away().await?;
    let client = Client::connect(&collector.address("otlp")?).await?;
    let mut client = client.patient_for(Duration::ZERO);
    let mut shop = Shop::new(7);
    let fill = async {
        loop {
            if let Err(status) = client.try_send(shop.request(2_000)).await {
                return status;
            }
        }
    };
    let status = timeout(Duration::from_secs(120), fill).await;
    let status = status.context("the disk does not become full")?;
    ensure!(status.code() == Code::Unavailable, "{status}");
    ensure!(retry_after(&status).is_some(), "no RetryInfo: {status}");
    let told = client.delivered.len() as u64;
    ensure!(
        collector
            .metrics()
            .await?
            .sum("spandrel_journal_refused_full_total", &[])
            > 0
    );

    let began = Instant::now();
    backend.come_back()?;
    backend
        .wait("exporting with a full disk", |taken| taken.totals.spans > 0)
        .await?;
    let mut again = client.clone().patient_for(Duration::from_secs(30));
    let resumed = until("new spans being taken", || {
        let (mut again, request) = (again.clone(), shop.request(10));
        async move { again.try_send(request).await.ok().map(|()| again) }
    });
    again.delivered = resumed.await?.delivered;
    say(&format!(
        "a disk of 64 MiB was full with {told} spans; new ones were taken {:?} after the backend was back",
        began.elapsed()
    ));
    site.tell(vec![client, again]);
    site.arrives(&backend)
        .await
        .with_context(|| collector.log().tail())?;
    let ended = collector.stop().await?;
    ended.expect_code(0)?;
    ended.ledger("traces")?.check()
}
