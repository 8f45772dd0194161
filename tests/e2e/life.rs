//! The life of the process: ready, asked for its health, stopped, stopped twice.

use std::time::Duration;

use anyhow::Result;
use spandrel_tests::backend::{Backend, Behaviour};
use spandrel_tests::client::{Client, is_retryable, retry_after, said_by_the_collector};
use spandrel_tests::collector::{Collector, READY, Setup};
use spandrel_tests::config::Config;
use spandrel_tests::log::Line;
use spandrel_tests::metrics::get;
use spandrel_tests::shop::Shop;
use spandrel_tests::until::until;
use tokio::time::Instant;
use tonic::{Code, Status};

/// The health check reports ready once it is ready, not ready as soon as it is told to stop, and
/// alive to the end.
#[tokio::test]
async fn health_follows_the_life() -> Result<()> {
    let backend = Backend::start().await?;
    let config = Config::new(backend.endpoint()).service("drain_delay: 5s");
    let collector = Collector::start(&Setup::new(&config.yaml())?).await?;
    let health = collector.address("health_check")?;
    let (code, body) = get(&health, "/").await?;
    assert_eq!(code, 200);
    assert!(body.contains("Server available"), "{body}");
    assert_eq!(get(&health, "/readyz").await?.0, 200);
    assert_eq!(get(&health, "/livez").await?.0, 200);
    assert_eq!(get(&health, "/nothing").await?.0, 404);
    collector.sigterm()?;
    collector.wait_for_message("Starting shutdown...").await?;
    assert_eq!(get(&health, "/readyz").await?.0, 503);
    assert_eq!(get(&health, "/").await?.0, 503);
    assert_eq!(get(&health, "/livez").await?.0, 200);
    // During the delay it still accepts: load balancers have not noticed yet.
    let mut client = Client::connect(&collector.address("otlp")?).await?;
    client.send(Shop::new(41).request(5)).await?;
    let ended = collector.wait().await?;
    ended.expect_code(0)?;
    assert_eq!(backend.totals().spans, client.delivered.len() as u64);
    Ok(())
}

/// Each step of the start and of the drain is in the log, in this order, the ledger last.
#[tokio::test]
async fn the_log_tells_the_life() -> Result<()> {
    let backend = Backend::start().await?;
    let collector = Collector::start(&Setup::new(&Config::new(backend.endpoint()).yaml())?).await?;
    let ended = collector.stop().await?;
    ended.expect_code(0)?;
    let lines = ended.log.lines();
    let mut rest = lines.iter();
    for expected in [
        "Starting spandrel...",
        "receiver listening",
        READY,
        "Received signal from OS",
        "Starting shutdown...",
        "receivers stopped",
        "pipeline drained",
        "ledger",
        "Shutdown complete.",
    ] {
        let found = rest.any(|line| line.message() == expected);
        assert!(
            found,
            "no {expected:?} at its place in:\n{}",
            ended.log.tail()
        );
    }
    assert_eq!(rest.count(), 0, "the ledger is not the last line");
    Ok(())
}

/// Checks the answer that a client gets in a drain: UNAVAILABLE with a hint. If the connection was
/// closed before its call was read, its own transport reports a status that it may also retry.
fn assert_may_retry(status: &Status) {
    if said_by_the_collector(status) {
        assert_eq!(status.code(), Code::Unavailable, "{status:?}");
        assert!(retry_after(status).is_some(), "no hint: {status:?}");
    } else {
        assert_ne!(status.code(), Code::DeadlineExceeded, "no answer in time");
        assert!(is_retryable(status), "{status:?}");
    }
}

/// If the backend never answers, the drain ends at its deadline, counts the abandoned spans, and
/// sets the exit code. Calls that come meanwhile are told at once that they may be retried.
#[tokio::test]
async fn what_cannot_be_drained_is_abandoned_and_counted() -> Result<()> {
    let backend = Backend::start().await?;
    backend.answer(Behaviour::Hanging);
    let config = Config::new(backend.endpoint())
        .exporter("timeout: 60s")
        .service("drain_timeout: 3s");
    let collector = Collector::start(&Setup::new(&config.yaml())?).await?;
    let address = collector.address("otlp")?;
    let mut client = Client::connect(&address).await?;
    let mut shop = Shop::new(42);
    client.send(shop.request(100)).await?;
    let asked = Instant::now();
    collector.sigterm()?;
    collector.wait_for_message("Starting shutdown...").await?;
    let refused = until("a call that is refused", || {
        let (mut client, request) = (client.clone(), shop.request(5));
        async move { client.try_send(request).await.err() }
    });
    assert_may_retry(&refused.await?);
    let drained = |line: &Line| {
        line.message() == "pipeline drained" && line.text("pipeline") == Some("traces")
    };
    assert!(
        collector.log().find(drained).is_none(),
        "told after the drain"
    );
    let ended = collector.wait().await?;
    assert!(
        asked.elapsed() < Duration::from_secs(20),
        "{:?}",
        asked.elapsed()
    );
    ended.expect_code(3)?;
    let ledger = ended.ledger("traces")?;
    ledger.check()?;
    assert!(
        ledger.abandoned >= client.delivered.len() as u64,
        "{ledger:?}"
    );
    assert_eq!(ledger.exported, 0);
    Ok(())
}

/// The second SIGTERM does not wait for the deadline: it abandons, counts, and ends.
#[tokio::test]
async fn the_second_sigterm_aborts() -> Result<()> {
    let backend = Backend::start().await?;
    backend.answer(Behaviour::Hanging);
    let config = Config::new(backend.endpoint()).exporter("timeout: 60s");
    let collector = Collector::start(&Setup::new(&config.yaml())?).await?;
    let mut client = Client::connect(&collector.address("otlp")?).await?;
    client.send(Shop::new(43).request(50)).await?;
    collector.sigterm()?;
    collector.wait_for_message("Starting shutdown...").await?;
    let asked = Instant::now();
    collector.sigterm()?;
    let ended = collector.wait().await?;
    // The deadline would be 25 seconds.
    assert!(
        asked.elapsed() < Duration::from_secs(15),
        "{:?}",
        asked.elapsed()
    );
    ended.expect_code(3)?;
    let ledger = ended.ledger("traces")?;
    let accounted = ledger.exported + ledger.dropped + ledger.refused + ledger.abandoned;
    assert_eq!(
        ledger.received,
        accounted + ledger.held + ledger.queued,
        "{ledger:?}"
    );
    assert!(ledger.abandoned + ledger.queued > 0, "{ledger:?}");
    Ok(())
}

/// A call during the drain gets UNAVAILABLE with a hint, or no connection: never an answer that a
/// client must not retry.
#[tokio::test]
async fn calls_in_a_drain_can_be_retried() -> Result<()> {
    let backend = Backend::start().await?;
    backend.answer(Behaviour::Slow(Duration::from_millis(800)));
    let collector = Collector::start(&Setup::new(&Config::new(backend.endpoint()).yaml())?).await?;
    let mut client = Client::connect(&collector.address("otlp")?).await?;
    let mut shop = Shop::new(44);
    client.send(shop.request(20)).await?;
    collector.sigterm()?;
    // The collector ends within the second that its backend takes, and the connection with it.
    while client.unanswered == 0 {
        if let Err(status) = client.try_send(shop.request(3)).await {
            assert_may_retry(&status);
        }
    }
    let ended = collector.wait().await?;
    ended.expect_code(0)?;
    assert_eq!(backend.totals().spans, client.delivered.len() as u64);
    Ok(())
}
