//! Each example plugin, run through the real collector with its own config.

mod field;

use anyhow::Result;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use spandrel_tests::artifacts;
use spandrel_tests::backend::Backend;
use spandrel_tests::client::Client;
use spandrel_tests::collector::{Collector, Ended, Setup};
use spandrel_tests::config::METRICS_READERS;
use spandrel_tests::shop::attribute::find;
use spandrel_tests::shop::{Shop, now, request, span_ids, spans};

/// An example with its own `spandrel.yaml`. Only its listening addresses, the path of its plugin,
/// and the export to a backend are overridden.
struct Example {
    backend: Backend,
    collector: Collector,
    client: Client,
    /// Keeps the folder with its socket.
    _setup: Setup,
}

impl Example {
    async fn start(name: &str, settings: &[(&str, &str)]) -> Result<Self> {
        let stage = name.replace('-', "_");
        let backend = Backend::start().await?;
        backend.keep();
        let config = artifacts::root().join(format!("examples/{name}/spandrel.yaml"));
        let module = artifacts::plugin(name)?.display().to_string();
        let mut setup = Setup::bare()?
            .arg("run")
            .arg("--config")
            .arg(config)
            .set("receivers::otlp::protocols::grpc::endpoint", "127.0.0.1:0")
            .set("exporters::otlp_grpc::endpoint", &backend.endpoint())
            .set(
                "service::pipelines::traces::exporters",
                "[debug, otlp_grpc]",
            )
            .set("service::telemetry::logs::encoding", "json")
            .set("service::telemetry::metrics::readers", METRICS_READERS)
            .set(&format!("processors::wasm/{stage}::module"), &module);
        if name == "tag-by-service" {
            // This example has the admin socket: each run gets a socket of its own.
            let endpoint = format!("unix:{}", setup.file("admin.sock").display());
            setup = setup.set("extensions::admin::endpoint", &endpoint);
        }
        for (key, value) in settings {
            setup = setup.set(&format!("processors::wasm/{stage}::config::{key}"), value);
        }
        let collector = Collector::start(&setup).await?;
        let client = Client::connect(&collector.address("otlp")?).await?;
        Ok(Self {
            backend,
            collector,
            client,
            _setup: setup,
        })
    }

    async fn send(&mut self, request: ExportTraceServiceRequest) -> Result<()> {
        Ok(self.client.send(request).await?)
    }

    /// Drains, and checks that everything is accounted for and the backend has what the ledger
    /// says.
    async fn finish(self) -> Result<(Backend, Ended)> {
        let ended = self.collector.stop().await?;
        ended.expect_code(0)?;
        let ledger = ended.ledger("traces")?;
        ledger.check()?;
        assert_eq!(ledger.received, self.client.delivered.len() as u64);
        assert_eq!(ledger.exported, self.backend.totals().spans);
        Ok((self.backend, ended))
    }
}

/// `drop-health-checks` drops a prober's requests, except failed ones, and nothing else.
#[tokio::test]
async fn health_checks_are_dropped() -> Result<()> {
    let mut example = Example::start("drop-health-checks", &[]).await?;
    let mut shop = Shop::new(11);
    let visits = shop.request(100);
    let mut probes = Vec::new();
    for service in 0..8 {
        probes.append(&mut shop.probe(service, "/healthz", now()));
    }
    let mut failed = shop.probe(0, "/readyz", now());
    failed[0].1.status = Some(opentelemetry_proto::tonic::trace::v1::Status {
        code: 2,
        message: "not ready".to_owned(),
    });
    let (visits_and_failed, failed) = (span_ids(&visits).count() + 1, request(failed));
    let failed_id = span_ids(&failed).next().unwrap();
    for request in [visits, request(probes), failed] {
        example.send(request).await?;
    }
    let (backend, ended) = example.finish().await?;
    assert_eq!(backend.taken().spans.len(), visits_and_failed);
    assert!(backend.taken().spans.contains_key(&failed_id));
    assert_eq!(ended.ledger("traces")?.dropped, 8);
    Ok(())
}

/// `drop-duplicates` lets each span through once, however often a client sends it.
#[tokio::test]
async fn duplicates_are_dropped() -> Result<()> {
    let mut example = Example::start("drop-duplicates", &[]).await?;
    let mut shop = Shop::new(12);
    let first = shop.request(80);
    let items = span_ids(&first).count() as u64;
    for _ in 0..3 {
        example.send(first.clone()).await?;
    }
    example.send(shop.request(20)).await?;
    let (backend, ended) = example.finish().await?;
    assert_eq!(backend.taken().duplicates(), 0);
    assert_eq!(ended.ledger("traces")?.dropped, 2 * items);
    Ok(())
}

/// `tag-by-service` tags by the service's row, a pattern, or the default, and changes nothing else.
#[tokio::test]
async fn services_are_tagged() -> Result<()> {
    let mut example = Example::start("tag-by-service", &[]).await?;
    let sent = Shop::new(13).request(200);
    example.send(sent.clone()).await?;
    let (backend, _) = example.finish().await?;
    let taken = backend.taken();
    for (resource, span) in spans(&sent.resource_spans) {
        let (after, same) = taken.find(spandrel_tests::shop::span_id(span)).unwrap();
        assert_eq!(*span, same);
        let before = &resource.unwrap().attributes;
        assert!(
            before
                .iter()
                .all(|attribute| after.attributes.contains(attribute))
        );
        let team = match find(before, "service.name").unwrap() {
            "checkout" => "payments",
            _ => "unknown",
        };
        assert_eq!(find(&after.attributes, "team"), Some(team));
    }
    Ok(())
}

/// `keep-interesting-traces` keeps whole traces: those with errors, and none of the rest with this
/// config. The traces that it holds when the collector stops are judged, not lost.
#[tokio::test]
async fn interesting_traces_are_kept() -> Result<()> {
    let settings = [("ratio", "0.0"), ("slow", "1h"), ("settle", "5s")];
    let mut example = Example::start("keep-interesting-traces", &settings).await?;
    let mut shop = Shop::new(14);
    let mut expected = std::collections::HashSet::new();
    for _ in 0..150 {
        let trace = shop.visit(now());
        let is_error = |span: &opentelemetry_proto::tonic::trace::v1::Span| {
            span.status.as_ref().is_some_and(|status| status.code == 2)
        };
        let failed = trace.iter().any(|(_, span)| is_error(span));
        // A trace comes in two parts, as from two services.
        let mut rest = trace;
        let part = rest.split_off(rest.len() / 2);
        for part in [request(part), request(rest)] {
            if failed {
                expected.extend(span_ids(&part));
            }
            example.send(part).await?;
        }
    }
    assert!(!expected.is_empty(), "no visit failed");
    let (backend, ended) = example.finish().await?;
    let kept: std::collections::HashSet<u64> = backend.taken().spans.keys().copied().collect();
    assert_eq!(kept, expected);
    assert!(ended.ledger("traces")?.dropped > 0);
    Ok(())
}
