//! Backends that are away, fail, are slow, or are picky. Accepted spans arrive, and spans for which
//! there is no room are refused with a hint and never lost.

use std::time::Duration;

use anyhow::Result;
use spandrel_tests::backend::{Backend, Behaviour};
use spandrel_tests::client::{Client, retry_after};
use spandrel_tests::collector::{Collector, Setup};
use spandrel_tests::config::Config;
use spandrel_tests::shop::Shop;
use spandrel_tests::until::until;
use tonic::Code;

/// A retry config with waits that fit into a test.
const RETRY: &str = "retry_on_failure: { initial_interval: 20ms, max_interval: 200ms }";

async fn start(config: &Config) -> Result<(Collector, Client)> {
    let collector = Collector::start(&Setup::new(&config.yaml())?).await?;
    let client = Client::connect(&collector.address("otlp")?).await?;
    Ok((collector, client))
}

/// Stops the collector, and checks that everything that was accepted is at the backend, once.
async fn finish(collector: Collector, client: &Client, backend: &Backend) -> Result<()> {
    let ended = collector.stop().await?;
    ended.expect_code(0)?;
    let ledger = ended.ledger("traces")?;
    ledger.check()?;
    assert_eq!(
        ledger.received,
        client.delivered.len() as u64 + client.refused
    );
    assert_eq!(ledger.refused, client.refused);
    assert_eq!(ledger.exported, client.delivered.len() as u64);
    assert_eq!(backend.totals().spans, ledger.exported);
    assert_eq!(backend.taken().duplicates(), 0);
    Ok(())
}

/// Spans wait while the backend is away, and arrive when it comes back.
#[tokio::test]
async fn a_dead_backend_that_comes_back_gets_everything() -> Result<()> {
    let mut backend = Backend::start().await?;
    backend.go_away().await?;
    let (collector, mut client) = start(&Config::new(backend.endpoint()).exporter(RETRY)).await?;
    let mut shop = Shop::new(31);
    for _ in 0..20 {
        client.send(shop.request(20)).await?;
    }
    collector
        .wait_for("a failed attempt", |line| {
            line.message() == "exporting failed, will retry after the wait"
        })
        .await?;
    backend.come_back()?;
    finish(collector, &client, &backend).await
}

/// Each batch arrives in the end, once, at a backend that fails two calls of three.
#[tokio::test]
async fn a_failing_backend_gets_everything_once() -> Result<()> {
    for code in [Code::Unavailable, Code::DeadlineExceeded, Code::Aborted] {
        let backend = Backend::start().await?;
        backend.answer(Behaviour::Failing { code, percent: 66 });
        let config = Config::new(backend.endpoint()).exporter(RETRY);
        let (collector, mut client) = start(&config).await?;
        let mut shop = Shop::new(32);
        for _ in 0..15 {
            client.send(shop.request(10)).await?;
        }
        finish(collector, &client, &backend).await?;
    }
    Ok(())
}

/// A slow backend delays no sender: senders are answered at once, and everything arrives.
#[tokio::test]
async fn a_slow_backend_gets_everything() -> Result<()> {
    let backend = Backend::start().await?;
    backend.answer(Behaviour::Hanging);
    let config = Config::new(backend.endpoint()).exporter("timeout: 60s");
    let (collector, mut client) = start(&config).await?;
    let mut shop = Shop::new(33);
    for _ in 0..30 {
        client.send(shop.request(20)).await?;
    }
    assert_eq!((client.refused, backend.totals().calls), (0, 0));
    backend.answer(Behaviour::Slow(Duration::from_millis(300)));
    finish(collector, &client, &backend).await
}

/// A backend that asks for patience gets no spans until the time is over.
#[tokio::test]
async fn a_busy_backend_is_given_the_time_it_asks_for() -> Result<()> {
    let backend = Backend::start().await?;
    backend.answer(Behaviour::Busy(Duration::from_millis(400)));
    let (collector, mut client) = start(&Config::new(backend.endpoint()).exporter(RETRY)).await?;
    client.send(Shop::new(34).request(20)).await?;
    backend
        .wait("the second attempt", |taken| taken.totals.calls >= 2)
        .await?;
    let answered = backend.taken().answered.clone();
    let waited = answered[1] - answered[0];
    assert!(waited >= Duration::from_millis(400), "{waited:?}");
    backend.answer(Behaviour::Fine);
    finish(collector, &client, &backend).await
}

/// Spans that a backend refuses for good, in part or as a whole, are not sent again, and are
/// counted.
#[tokio::test]
async fn what_a_backend_refuses_for_good_is_counted() -> Result<()> {
    let backend = Backend::start().await?;
    let config = Config::new(backend.endpoint()).exporter(RETRY);
    let (collector, mut client) = start(&config).await?;
    let mut shop = Shop::new(35);
    backend.answer(Behaviour::Partial { rejected: 3 });
    client.send(shop.request(20)).await?;
    backend
        .wait("the first call", |taken| taken.totals.calls == 1)
        .await?;
    backend.answer(Behaviour::Failing {
        code: Code::PermissionDenied,
        percent: 100,
    });
    let before = client.delivered.len() as u64;
    client.send(shop.request(20)).await?;
    let refused_whole = client.delivered.len() as u64 - before;
    backend
        .wait("the second call", |taken| taken.totals.calls == 2)
        .await?;
    let ended = collector.stop().await?;
    ended.expect_code(0)?;
    let ledger = ended.ledger("traces")?;
    ledger.check()?;
    assert_eq!(ledger.dropped, 3 + refused_whole);
    assert_eq!(ledger.exported, backend.totals().spans);
    assert_eq!(
        backend.totals().calls,
        2,
        "a final answer was asked for again"
    );
    Ok(())
}

/// A full queue refuses with UNAVAILABLE and a hint; a client that follows it loses nothing.
#[tokio::test]
async fn a_full_queue_refuses_and_nothing_is_lost() -> Result<()> {
    let backend = Backend::start().await?;
    backend.answer(Behaviour::Hanging);
    let queue = "sending_queue: { queue_size: 2, num_consumers: 1 }, timeout: 60s";
    let (collector, mut client) = start(&Config::new(backend.endpoint()).exporter(queue)).await?;
    let mut shop = Shop::new(36);
    let status = loop {
        let request = shop.request(10);
        match client.try_send(request).await {
            Ok(()) => assert!(client.delivered.len() < 1_000, "the queue has no end"),
            Err(status) => break status,
        }
    };
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    assert!(retry_after(&status).is_some(), "no hint: {status:?}");
    let metrics = collector.metrics().await?;
    assert_eq!(
        metrics.sum("otelcol_receiver_refused_spans", &[]),
        client.refused
    );
    backend.answer(Behaviour::Fine);
    for _ in 0..20 {
        client.send(shop.request(10)).await?;
    }
    finish(collector, &client, &backend).await
}

/// With `block_on_overflow` a full queue makes senders wait instead, and none is refused.
#[tokio::test]
async fn a_full_queue_can_make_senders_wait() -> Result<()> {
    let backend = Backend::start().await?;
    backend.answer(Behaviour::Slow(Duration::from_millis(20)));
    let queue = "sending_queue: { queue_size: 1, num_consumers: 1, block_on_overflow: true }";
    let (collector, mut client) = start(&Config::new(backend.endpoint()).exporter(queue)).await?;
    let mut shop = Shop::new(37);
    for _ in 0..30 {
        client.send(shop.request(10)).await?;
    }
    assert_eq!(client.refused, 0);
    finish(collector, &client, &backend).await
}

/// With `ack_on: export` the sender's OK means that the backend has the spans.
#[tokio::test]
async fn ack_on_export_answers_after_the_backend() -> Result<()> {
    let backend = Backend::start().await?;
    let config = Config::new(backend.endpoint()).traces("ack_on: export");
    let (collector, mut client) = start(&config).await?;
    let mut shop = Shop::new(38);
    for _ in 0..10 {
        client.send(shop.request(10)).await?;
        assert_eq!(backend.totals().spans, client.delivered.len() as u64);
    }
    finish(collector, &client, &backend).await
}

/// The counts on `/metrics` match the events.
#[tokio::test]
async fn metrics_say_what_happened() -> Result<()> {
    let backend = Backend::start().await?;
    let (collector, mut client) = start(&Config::new(backend.endpoint())).await?;
    client.send(Shop::new(39).request(50)).await?;
    let spans = client.delivered.len() as u64;
    let sent = until("the counter of sent spans", || async {
        let metrics = collector.metrics().await.ok()?;
        let is_sent = metrics.sum("otelcol_exporter_sent_spans", &[]) == spans;
        // The place in the queue is released after the items are counted.
        let is_empty = metrics.sum("otelcol_exporter_queue_size", &[]) == 0;
        (is_sent && is_empty).then_some(metrics)
    });
    let metrics = sent.await?;
    assert_eq!(
        metrics.sum("otelcol_receiver_accepted_spans", &[("receiver", "otlp")]),
        spans
    );
    assert!(metrics.sum("otelcol_exporter_queue_capacity", &[]) > 0);
    finish(collector, &client, &backend).await
}

/// Two exporters in one pipeline have a queue each: while one backend hangs, the other gets
/// everything at once, and the first gets it when it is back.
#[tokio::test]
async fn one_backend_does_not_wait_for_the_other() -> Result<()> {
    let (well, stuck) = (Backend::start().await?, Backend::start().await?);
    stuck.answer(Behaviour::Hanging);
    let config = Config::new(well.endpoint()).exporter(RETRY);
    let setup = Setup::new(&config.yaml())?
        .set("exporters::otlp_grpc/stuck::endpoint", &stuck.endpoint())
        .set("exporters::otlp_grpc/stuck::timeout", "60s")
        .set(
            "service::pipelines::traces::exporters",
            "[otlp_grpc, otlp_grpc/stuck]",
        );
    let collector = Collector::start(&setup).await?;
    let mut client = Client::connect(&collector.address("otlp")?).await?;
    let mut shop = Shop::new(40);
    for _ in 0..10 {
        client.send(shop.request(20)).await?;
    }
    let items = client.delivered.len() as u64;
    well.wait("all spans", |taken| taken.totals.spans == items)
        .await?;
    assert_eq!(stuck.totals().spans, 0);
    stuck.answer(Behaviour::Fine);
    let ended = collector.stop().await?;
    ended.expect_code(0)?;
    for (exporter, backend) in [("otlp_grpc", &well), ("otlp_grpc/stuck", &stuck)] {
        let ledger = ended.ledger_of("traces", exporter)?;
        ledger.check()?;
        assert_eq!((ledger.exported, backend.totals().spans), (items, items));
        assert_eq!(backend.taken().duplicates(), 0);
    }
    Ok(())
}
