//! A long outage of the backend: processed spans go to disk, memory stays the same, and the backlog
//! goes out faster than it came.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use spandrel_tests::backend::{Backend, Behaviour, Taken};
use spandrel_tests::client::Client;
use spandrel_tests::config::Config;
use spandrel_tests::shop::{Shop, span_ids};
use spandrel_tests::until::say;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tonic::Code;

use super::site::{SOON, Site, number};

/// Nothing is lost, and memory grows by at most 64 MiB, or by 32 if so little is sent that it would
/// otherwise fit into it. `SPANDREL_OUTAGE=300` sends an hour of 2,000 spans a second in five
/// minutes: 24,000 a second. Then the backlog must also go out at twice the rate or faster.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_is_on_disk() -> Result<()> {
    const TICK: Duration = Duration::from_millis(100);
    let seconds = number("SPANDREL_OUTAGE", 10);
    let is_long = seconds >= 60;
    // 24,000 a second need a machine of their own.
    let spans = if is_long { 2_400 } else { 400 };
    let backend = Backend::start().await?;
    let mut site = Site::new(&Config::new(backend.endpoint()).exporter(SOON))?;
    let collector = site.start().await?;
    let mut client = Client::connect(&collector.address("otlp")?).await?;
    let mut shop = Shop::new(3);
    for _ in 0..20 {
        client.send(shop.request(spans)).await?;
    }
    backend
        .wait("the first spans", |taken| taken.totals.spans > 0)
        .await?;
    let (before, mut most) = (collector.memory_kib()?, 0);
    backend.answer(Behaviour::Failing {
        code: Code::Unavailable,
        percent: 100,
    });
    let (began, mut sent) = (Instant::now(), 0);
    let mut pace = interval(TICK);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while began.elapsed() < Duration::from_secs(seconds) {
        pace.tick().await;
        let request = shop.request(spans);
        sent += span_ids(&request).count();
        client.send(request).await?;
        most = most.max(collector.memory_kib()?);
    }
    let rate = sent as f64 / began.elapsed().as_secs_f64();
    let growth = most.saturating_sub(before) >> 10;
    site.tell(vec![client]);
    backend.answer(Behaviour::Fine);
    let began = Instant::now();
    let patience = Duration::from_secs(60 + seconds);
    let arrives = async { while site.arrives(&backend).await.is_err() {} };
    timeout(patience, arrives)
        .await
        .with_context(|| collector.log().tail())?;
    let back = sent as f64 / began.elapsed().as_secs_f64();
    say(&format!(
        "{seconds} s without a backend: {sent} spans at {rate:.0} a second, 0 lost, memory grew by {growth} MiB from {} MiB, out again at {back:.0} a second = {:.1} times",
        before >> 10,
        back / rate,
    ));
    let ended = collector.stop().await?;
    ended.expect_code(0)?;
    let ledger = ended.ledger("traces")?;
    ledger.check()?;
    ensure!(ledger.on_disk + ledger.journaled == 0, "{ledger:?}");
    let most = if is_long { 64 } else { 32 };
    ensure!(growth <= most, "memory grew by {growth} MiB");
    if is_long {
        ensure!(back >= 2.0 * rate, "{back:.0} a second after {rate:.0}");
    }
    Ok(())
}

/// SIGTERM does not wait for a dead backend: exit code 0, the last line says what stays, and the
/// next start delivers it, once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_does_not_wait_for_a_dead_backend() -> Result<()> {
    let mut backend = Backend::start().await?;
    let mut site = Site::new(&Config::new(backend.endpoint()).exporter(SOON))?;
    let collector = site.start().await?;
    backend.go_away().await?;
    let mut client = Client::connect(&collector.address("otlp")?).await?;
    let mut shop = Shop::new(4);
    for _ in 0..20 {
        client.send(shop.request(40)).await?;
    }
    site.tell(vec![client]);
    let began = Instant::now();
    let ended = collector.stop().await?;
    let took = began.elapsed();
    // `drain_timeout` is 25 s.
    ensure!(took < Duration::from_secs(15), "stopped after {took:?}");
    ended.expect_code(0)?;
    let ledger = ended.ledger("traces")?;
    ledger.check()?;
    let kept = ledger.on_disk + ledger.journaled;
    ensure!(kept == site.told.len() as u64, "{ledger:?}");
    let lines = ended.log.lines();
    ensure!(lines.iter().any(|line| line.message() == "journal closed"));

    backend.come_back()?;
    let collector = site.start().await?;
    ensure!(
        Site::found(&collector)? == kept,
        "{}",
        collector.log().tail()
    );
    site.arrives(&backend).await?;
    let ended = collector.stop().await?;
    ended.expect_code(0)?;
    let ledger = ended.ledger("traces")?;
    ledger.check()?;
    ensure!(ledger.exported == kept, "{ledger:?}");
    ensure!(backend.taken().duplicates() == 0);
    Ok(())
}

/// With 1 GiB of backlog (`SPANDREL_BACKLOG_MIB=1024`; 32 MiB otherwise) the start takes at most 5
/// seconds, and new spans are accepted at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backlog_does_not_keep_the_start() -> Result<()> {
    let bytes = number("SPANDREL_BACKLOG_MIB", 32) << 20;
    let mut backend = Backend::start().await?;
    let mut site = Site::new(&Config::new(backend.endpoint()).exporter(SOON))?;
    let collector = site.start().await?;
    backend.go_away().await?;
    let mut client = Client::connect(&collector.address("otlp")?).await?;
    let request = Shop::new(5).request(2_000);
    let each = prost::Message::encoded_len(&request) as u64;
    for _ in 0..bytes / each {
        client.send(request.clone()).await?;
    }
    collector.kill().await?;
    let began = Instant::now();
    let collector = site.start().await?;
    let took = began.elapsed();
    ensure!(took < Duration::from_secs(5), "ready after {took:?}");
    say(&format!(
        "{} MiB of backlog: ready after {took:?}",
        bytes >> 20
    ));
    let accepted = client.delivered.len() as u64;
    let found = Site::found(&collector)?;
    ensure!(found >= accepted, "{found} of {accepted} were found");
    let mut late = Client::connect(&collector.address("otlp")?).await?;
    late.try_send(Shop::new(6).request(10)).await?;
    site.tell(vec![client, late]);
    backend.come_back()?;
    let patience = Duration::from_secs(60 + (bytes >> 20));
    // The same request was sent again and again.
    let all = |taken: &Taken| taken.totals.spans > accepted;
    let arrives = async {
        while site.arrives(&backend).await.is_err() {}
        while backend.wait("the whole backlog", all).await.is_err() {}
    };
    timeout(patience, arrives)
        .await
        .with_context(|| collector.log().tail())?;
    collector.kill().await?;
    Ok(())
}
