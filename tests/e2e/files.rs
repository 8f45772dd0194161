//! Traffic in files: written as OTLP/JSON lines, and replayed unchanged.

use anyhow::Result;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, Span};
use spandrel_tests::backend::Backend;
use spandrel_tests::client::Client;
use spandrel_tests::collector::{Collector, Setup};
use spandrel_tests::config::Config;
use spandrel_tests::shop::{Shop, spans};

fn sorted(resources: &[ResourceSpans]) -> Vec<Span> {
    let mut spans: Vec<Span> = spans(resources).map(|(_, span)| span.clone()).collect();
    spans.sort_by(|left, right| left.span_id.cmp(&right.span_id));
    spans
}

/// The file receiver replays the file exporter's output of a live run to the backend of another
/// collector: every span arrives as the client sent it.
#[tokio::test]
async fn a_written_file_is_replayed() -> Result<()> {
    let setup = Setup::new(&Config::new("http://127.0.0.1:1").yaml())?;
    let file = setup.file("traces.jsonl").display().to_string();
    let write = setup
        .clone()
        .set("exporters::file::path", &file)
        .set("service::pipelines::traces::exporters", "[file]");
    let collector = Collector::start(&write).await?;
    let mut client = Client::connect(&collector.address("otlp")?).await?;
    let mut shop = Shop::new(61);
    let mut sent = Vec::new();
    for _ in 0..10 {
        let request = shop.request(30);
        client.send(request.clone()).await?;
        sent.extend(request.resource_spans);
    }
    let ended = collector.stop().await?;
    ended.expect_code(0)?;
    assert_eq!(
        ended.ledger("traces")?.exported,
        client.delivered.len() as u64
    );

    let backend = Backend::start().await?;
    backend.keep();
    let replay = Setup::new(&Config::new(backend.endpoint()).yaml())?
        .set("receivers::file::path", &file)
        .set("service::pipelines::traces::receivers", "[file]");
    let collector = Collector::start(&replay).await?;
    let expected = sent.iter().flat_map(|resource| &resource.scope_spans);
    let expected: u64 = expected.map(|scope| scope.spans.len() as u64).sum();
    backend
        .wait("the replay", |taken| taken.totals.spans == expected)
        .await?;
    let ended = collector.stop().await?;
    ended.expect_code(0)?;
    ended.ledger("traces")?.check()?;
    assert_eq!(sorted(&backend.taken().traces), sorted(&sent));
    Ok(())
}
