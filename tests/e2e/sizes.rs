//! Requests that are longer than the backend accepts. They are split, without a failed call if the
//! limit is known, and only an item that is too long by itself is lost.

use anyhow::Result;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;
use spandrel_tests::backend::{Backend, Behaviour};
use spandrel_tests::client::Client;
use spandrel_tests::collector::{Collector, Setup};
use spandrel_tests::config::Config;
use spandrel_tests::shop::{Shop, span_ids};
use spandrel_tests::until::until;
use tonic::Code;

/// The default limit of gRPC servers.
const LIMIT: usize = 4 << 20;
const RETRY: &str = "retry_on_failure: { initial_interval: 20ms, max_interval: 200ms }";
const LEARNED: &str = "backend refuses requests of this size, larger ones are cut from now on";

/// Makes as many spans as an agent sends at once, of more than 6 MiB.
fn large(shop: &mut Shop) -> ExportTraceServiceRequest {
    let mut request = shop.request(8192);
    let scopes = request.resource_spans.iter_mut();
    let scopes = scopes.flat_map(|resource| &mut resource.scope_spans);
    for (number, span) in scopes.flat_map(|scope| &mut scope.spans).enumerate() {
        // This text compresses as well as real text.
        span.name = format!("{number} ").repeat(100);
    }
    assert!(request.encoded_len() > 6 << 20);
    request
}

async fn attempts(collector: &Collector) -> Result<u64> {
    let metrics = collector.metrics().await?;
    Ok(metrics.sum(
        "spandrel_exporter_attempts_total",
        &[("data_type", "traces")],
    ))
}

/// Sends one client's 6 MiB to a backend that accepts 4: everything arrives, once. The first
/// request reveals the limit, and the next is split before it is sent.
async fn everything_arrives(keys: &str, durable: bool) -> Result<()> {
    let backend = Backend::start_with(LIMIT).await?;
    let config = Config::new(backend.endpoint())
        .exporter(RETRY)
        .exporter(keys);
    let config = match durable {
        true => config.traces("durability: { dir: data }"),
        false => config,
    };
    let collector = Collector::start(&Setup::new(&config.yaml())?).await?;
    let mut client = Client::connect(&collector.address("otlp")?).await?;
    let mut shop = Shop::new(81);
    let mut before = 0;
    for round in 0..3 {
        client.send(large(&mut shop)).await?;
        let items = client.delivered.len() as u64;
        backend
            .wait("all spans", |taken| taken.totals.spans == items)
            .await?;
        let (made, taken) = (attempts(&collector).await?, backend.totals().calls);
        let refused = made - taken;
        assert_eq!(
            refused, 1,
            "{keys}, round {round}: {made} attempts, {taken} taken"
        );
        assert!(taken - before <= 4, "{} parts", taken - before);
        before = taken;
    }
    let ended = collector.stop().await?;
    ended.expect_code(0)?;
    assert_eq!(ended.log.count_of(LEARNED), 1, "{}", ended.log.tail());
    let ledger = ended.ledger("traces")?;
    ledger.check()?;
    assert_eq!(ledger.exported, client.delivered.len() as u64);
    assert_eq!((ledger.dropped, backend.taken().duplicates()), (0, 0));
    Ok(())
}

/// Uncompressed requests are split: the backend finds them too long before it reads them.
#[tokio::test]
async fn a_request_above_the_backends_limit_arrives_in_parts() -> Result<()> {
    everything_arrives("compression: none", false).await
}

/// Compressed requests, the default, are split too: the backend notices while it inflates.
#[tokio::test]
async fn so_it_does_compressed() -> Result<()> {
    everything_arrives("compression: gzip", false).await
}

/// Requests are also split with a journal in the pipeline. The journal's record is completed with
/// the last part.
#[tokio::test]
async fn so_it_does_with_a_journal() -> Result<()> {
    everything_arrives("compression: zstd", true).await
}

/// Requests that waited in the exporter's log while the backend was away are split as well.
#[tokio::test]
async fn a_backlog_above_the_backends_limit_arrives_in_parts() -> Result<()> {
    let backend = Backend::start_with(LIMIT).await?;
    backend.answer(Behaviour::Failing {
        code: Code::Unavailable,
        percent: 100,
    });
    let config = Config::new(backend.endpoint())
        .exporter(RETRY)
        .exporter("sending_queue: { queue_size: 1, num_consumers: 1 }, compression: none")
        .traces("durability: { dir: data }");
    let collector = Collector::start(&Setup::new(&config.yaml())?).await?;
    let mut client = Client::connect(&collector.address("otlp")?).await?;
    let mut shop = Shop::new(82);
    for _ in 0..4 {
        client.send(large(&mut shop)).await?;
    }
    backend.answer(Behaviour::Fine);
    let items = client.delivered.len() as u64;
    backend
        .wait("all spans", |taken| taken.spans.len() as u64 == items)
        .await?;
    let ended = collector.stop().await?;
    ended.expect_code(0)?;
    let ledger = ended.ledger("traces")?;
    ledger.check()?;
    assert_eq!(
        (ledger.dropped, ledger.on_disk, ledger.journaled),
        (0, 0, 0)
    );
    Ok(())
}

/// One span that no request can carry is lost alone, with a reason and a count of its own.
#[tokio::test]
async fn a_span_that_is_too_long_alone_is_lost_alone() -> Result<()> {
    let backend = Backend::start_with(LIMIT).await?;
    let config = Config::new(backend.endpoint()).exporter("compression: none");
    let collector = Collector::start(&Setup::new(&config.yaml())?).await?;
    let mut client = Client::connect(&collector.address("otlp")?).await?;
    let mut request = Shop::new(83).request(100);
    request.resource_spans[0].scope_spans[0].spans[0].name = "x".repeat(LIMIT);
    let items = span_ids(&request).count() as u64;
    client.send(request).await?;
    backend
        .wait("the others", |taken| taken.totals.spans == items - 1)
        .await?;
    let lost = until("the count of what is lost", || async {
        let metrics = collector.metrics().await.ok()?;
        let labels = [("exporter", "otlp_grpc"), ("data_type", "traces")];
        let lost = metrics.sum("spandrel_exporter_too_large_items_total", &labels);
        (lost > 0).then_some(lost)
    });
    assert_eq!(lost.await?, 1);
    let ended = collector.stop().await?;
    ended.expect_code(0)?;
    let line = ended
        .log
        .find(|line| line.message() == "items are too long for the backend even alone, given up");
    let line = line.expect("it is said");
    assert_eq!(line.count("items"), Some(1));
    let ledger = ended.ledger("traces")?;
    ledger.check()?;
    assert_eq!((ledger.dropped, ledger.exported), (1, items - 1));
    Ok(())
}

/// With `sizer: bytes` no request is longer than `max_size`, so a backend with that limit refuses
/// none.
#[tokio::test]
async fn an_operator_can_say_the_size() -> Result<()> {
    let backend = Backend::start_with(1 << 20).await?;
    let batch = "sending_queue: { batch: { sizer: bytes, min_size: 0, max_size: 1048576 } }";
    let config = Config::new(backend.endpoint()).exporter(batch);
    let collector = Collector::start(&Setup::new(&config.yaml())?).await?;
    let mut client = Client::connect(&collector.address("otlp")?).await?;
    client.send(large(&mut Shop::new(84))).await?;
    let items = client.delivered.len() as u64;
    backend
        .wait("all spans", |taken| taken.totals.spans == items)
        .await?;
    let calls = backend.totals().calls;
    assert_eq!(attempts(&collector).await?, calls, "one was refused");
    assert!(calls <= 9, "{calls} requests");
    let ended = collector.stop().await?;
    ended.expect_code(0)?;
    ended.ledger("traces")?.check()
}
