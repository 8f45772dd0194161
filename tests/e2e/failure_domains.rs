//! Exporters of a pipeline, and pipelines of a receiver, are separate failure domains: a dead
//! backend affects only its own part.
//!
//! `SPANDREL_FAILURE_DOMAIN_SECONDS=20` sends for 20 s, as the original report did, instead of five.

mod field;

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use spandrel_tests::artifacts::guest;
use spandrel_tests::backend::{Backend, Taken};
use spandrel_tests::client::Client;
use spandrel_tests::collector::{Collector, Ended, Setup};
use spandrel_tests::config::{Config, METRICS_READERS};
use spandrel_tests::shop::{Shop, span_ids};
use spandrel_tests::until::until;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tonic::Code;

/// The requests in a second.
const PACE: u32 = 46;
/// The spans in a request.
const SPANS: usize = 10;

fn requests() -> Result<u32> {
    let seconds: u32 = match std::env::var("SPANDREL_FAILURE_DOMAIN_SECONDS") {
        Ok(seconds) => seconds.parse().context("SPANDREL_FAILURE_DOMAIN_SECONDS")?,
        Err(_) => 5,
    };
    Ok(seconds * PACE)
}

/// An exporter to a healthy backend, and one to a missing backend.
struct Site {
    well: Backend,
    gone: Backend,
}

impl Site {
    async fn new() -> Result<Self> {
        let (well, mut gone) = (Backend::start().await?, Backend::start().await?);
        gone.go_away().await?;
        Ok(Self { well, gone })
    }

    /// Starts a collector with these keys of the dead exporter's queue, and these pipelines.
    async fn start(&self, queue: &str, pipelines: &str) -> Result<Collector> {
        let (well, gone) = (self.well.endpoint(), self.gone.endpoint());
        let config = format!(
            "\
receivers:
  otlp: {{ protocols: {{ grpc: {{ endpoint: 127.0.0.1:0, max_concurrent_streams: 1000 }} }} }}
exporters:
  otlp_grpc/well: {{ endpoint: \"{well}\" }}
  otlp_grpc/gone:
    endpoint: \"{gone}\"
    retry_on_failure: {{ initial_interval: 100ms, max_interval: 1s, max_elapsed_time: 3s }}
    sending_queue: {{ queue_size: 100{queue} }}
extensions:
  health_check: {{ endpoint: 127.0.0.1:0 }}
service:
  extensions: [health_check]
  drain_timeout: 10s
  telemetry: {{ logs: {{ encoding: json }}, metrics: {{ readers: {METRICS_READERS} }} }}
  pipelines: {{ {pipelines} }}
"
        );
        Collector::start(&Setup::new(&config)?).await
    }
}

const ONE: &str = "traces: { receivers: [otlp], exporters: [otlp_grpc/gone, otlp_grpc/well] }";
const EACH: &str = "\
traces/gone: { receivers: [otlp], exporters: [otlp_grpc/gone] }, \
traces/well: { receivers: [otlp], exporters: [otlp_grpc/well] }";

/// Makes the requests, and returns them with the number of their spans.
fn load() -> Result<(Vec<ExportTraceServiceRequest>, u64)> {
    let mut shop = Shop::new(1201);
    let requests: Vec<_> = (0..requests()?).map(|_| shop.request(SPANS)).collect();
    let spans = requests.iter().flat_map(span_ids).count();
    Ok((requests, u64::try_from(spans)?))
}

/// Sends at the pace, however long the answers take. Returns the number of spans with an OK.
async fn send(collector: &Collector, requests: Vec<ExportTraceServiceRequest>) -> Result<u64> {
    let client = Client::connect(&collector.address("otlp")?).await?;
    let mut clock = interval(Duration::from_secs(1) / PACE);
    clock.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut calls = JoinSet::new();
    for request in requests {
        clock.tick().await;
        let mut client = client.clone();
        calls.spawn(async move {
            let answer = client.try_send(request).await;
            (answer, client.delivered.len() as u64)
        });
    }
    let mut accepted = 0;
    while let Some(call) = calls.join_next().await {
        let (answer, spans) = call?;
        if let Err(status) = answer {
            ensure!(status.code() == Code::DeadlineExceeded, "{status:?}");
        }
        accepted += spans;
    }
    Ok(accepted)
}

/// Waits until every span is at the healthy backend.
async fn has_everything(site: &Site, sent: u64) -> Result<()> {
    let all = |taken: &Taken| taken.totals.spans == sent;
    site.well.wait("every span that was sent", all).await
}

/// Returns the number of log lines with which an overflow begins.
fn began(ended: &Ended, message: &str) -> usize {
    let lines = ended.log.lines();
    let began = lines
        .iter()
        .filter(|line| line.message().starts_with(message));
    began.count()
}

/// If one of two exporters' backends is dead, the other gets every span and no sender is refused.
/// The spans that the dead one lost are in its own ledger, in a metric, and in one line of the log.
#[tokio::test]
async fn one_dead_backend_starves_nobody() -> Result<()> {
    let site = Site::new().await?;
    let collector = site.start("", ONE).await?;
    let (requests, sent) = load()?;
    let accepted = send(&collector, requests).await?;
    ensure!(accepted == sent, "{accepted} of {sent} were accepted");
    has_everything(&site, sent).await?;
    let metrics = collector.metrics().await?;
    let overflowed = |exporter| {
        let labels = [("exporter", exporter)];
        metrics.sum("otelcol_exporter_enqueue_failed_spans", &labels)
    };
    ensure!(overflowed("otlp_grpc/gone") > 0 && overflowed("otlp_grpc/well") == 0);
    let ended = collector.stop().await?;
    let ledger = ended.ledger_of("traces", "otlp_grpc/well")?;
    ledger.check()?;
    ensure!(
        (ledger.exported, ledger.overflowed) == (sent, 0),
        "{ledger:?}"
    );
    let ledger = ended.ledger_of("traces", "otlp_grpc/gone")?;
    ledger.check()?;
    ensure!(ledger.exported == 0 && ledger.refused == 0, "{ledger:?}");
    ensure!(ledger.overflowed > 0, "{ledger:?}");
    ensure!(began(&ended, "exporter's queue is full") == 1);
    Ok(())
}

/// The same holds with a pipeline for each exporter behind one receiver.
#[tokio::test]
async fn one_dead_pipeline_starves_nobody() -> Result<()> {
    let site = Site::new().await?;
    let collector = site.start("", EACH).await?;
    let (requests, sent) = load()?;
    let accepted = send(&collector, requests).await?;
    ensure!(accepted == sent, "{accepted} of {sent} were accepted");
    has_everything(&site, sent).await?;
    let metrics = collector.metrics().await?;
    let labels = [("pipeline", "traces/gone"), ("reason", "queue_full")];
    let counted = metrics.sum("spandrel_ledger_overflowed_items_total", &labels);
    let ended = collector.stop().await?;
    let ledger = ended.ledger_of("traces/gone", "otlp_grpc/gone")?;
    ledger.check()?;
    ensure!(counted > 0 && ledger.overflowed == counted, "{ledger:?}");
    let ledger = ended.ledger_of("traces/well", "otlp_grpc/well")?;
    ledger.check()?;
    ensure!((ledger.exported, ledger.refused) == (sent, 0), "{ledger:?}");
    ensure!(began(&ended, "pipeline is full") == 1);
    Ok(())
}

/// With `block_on_overflow` the senders wait for the dead one, and the other one gets their spans
/// at once.
#[tokio::test]
async fn a_queue_that_blocks_starves_nobody() -> Result<()> {
    for pipelines in [ONE, EACH] {
        let site = Site::new().await?;
        let collector = site.start(", block_on_overflow: true", pipelines).await?;
        let (requests, sent) = load()?;
        let paced = Duration::from_secs(1) / PACE * u32::try_from(requests.len())?;
        let started = Instant::now();
        let arrived = async {
            has_everything(&site, sent).await?;
            // At this time the first senders are still waiting for their answers.
            let took = started.elapsed();
            ensure!(took < paced + Duration::from_secs(7), "{took:?}");
            anyhow::Ok(())
        };
        let (answered, arrived) = tokio::join!(send(&collector, requests), arrived);
        arrived?;
        answered?;
        has_everything(&site, sent).await?;
        let ended = collector.stop().await?;
        let pipeline = if pipelines == ONE {
            "traces"
        } else {
            "traces/well"
        };
        let ledger = ended.ledger_of(pipeline, "otlp_grpc/well")?;
        ledger.check()?;
        ensure!((ledger.exported, ledger.refused) == (sent, 0), "{ledger:?}");
    }
    Ok(())
}

/// A pipeline with a slow stage delays only its own batches: the pipeline beside it, behind the
/// same receiver, gets all of them, and no sender is refused.
#[tokio::test]
async fn a_slow_stage_starves_no_other_pipeline() -> Result<()> {
    let (well, behind) = (Backend::start().await?, Backend::start().await?);
    let module = guest("slow")?;
    let config = format!(
        "\
receivers:
  otlp: {{ protocols: {{ grpc: {{ endpoint: 127.0.0.1:0, max_concurrent_streams: 1000 }} }} }}
processors:
  wasm/slow: {{ module: \"{}\", limits: {{ call_deadline: 5s }}, config: {{ ms: 300 }} }}
exporters:
  otlp_grpc/well: {{ endpoint: \"{}\" }}
  otlp_grpc/behind: {{ endpoint: \"{}\" }}
extensions:
  health_check: {{ endpoint: 127.0.0.1:0 }}
service:
  extensions: [health_check]
  shards: 1
  telemetry: {{ logs: {{ encoding: json }}, metrics: {{ readers: {METRICS_READERS} }} }}
  pipelines:
    traces/slow: {{ receivers: [otlp], processors: [wasm/slow], exporters: [otlp_grpc/behind] }}
    traces/well: {{ receivers: [otlp], exporters: [otlp_grpc/well] }}
",
        module.display(),
        well.endpoint(),
        behind.endpoint()
    );
    let collector = Collector::start(&Setup::new(&config)?).await?;
    let (requests, sent) = load()?;
    let accepted = send(&collector, requests).await?;
    ensure!(accepted == sent, "{accepted} of {sent} were accepted");
    let ended = collector.stop().await?;
    let ledger = ended.ledger_of("traces/well", "otlp_grpc/well")?;
    ledger.check()?;
    ensure!((ledger.exported, ledger.refused) == (sent, 0), "{ledger:?}");
    let ledger = ended.ledger_of("traces/slow", "otlp_grpc/behind")?;
    ledger.check()?;
    ensure!(ledger.overflowed > 0, "{ledger:?}");
    ensure!(behind.totals().spans == sent - ledger.overflowed);
    Ok(())
}

/// With `on_full: refuse` the sender is told when this backend's queue is full, and nothing is
/// lost.
#[tokio::test]
async fn who_must_not_lose_has_the_sender_told() -> Result<()> {
    let site = Site::new().await?;
    let collector = site.start(", on_full: refuse", ONE).await?;
    let mut client = Client::connect(&collector.address("otlp")?).await?;
    let mut shop = Shop::new(1202);
    let status = loop {
        match client.try_send(shop.request(SPANS)).await {
            Ok(()) => ensure!(client.delivered.len() < 10_000, "the queue has no end"),
            Err(status) => break status,
        }
    };
    ensure!(status.code() == Code::Unavailable, "{status:?}");
    let accepted = client.delivered.len() as u64;
    has_everything(&site, accepted).await?;
    let ended = collector.stop().await?;
    let ledger = ended.ledger_of("traces", "otlp_grpc/gone")?;
    ledger.check()?;
    ensure!(ledger.overflowed == 0 && ledger.refused > 0, "{ledger:?}");
    Ok(())
}

/// A reload can correct an exporter's endpoint: its queue goes to the right one, and the collector
/// ends well.
#[tokio::test]
async fn a_mended_endpoint_takes_its_queue_along() -> Result<()> {
    let (right, mut wrong) = (Backend::start().await?, Backend::start().await?);
    wrong.go_away().await?;
    let yaml = |backend: &Backend| {
        Config::new(backend.endpoint())
            .exporter("retry_on_failure: { initial_interval: 60s, max_interval: 60s }")
            .yaml()
    };
    let setup = Setup::new(&yaml(&wrong))?;
    let collector = Collector::start(&setup).await?;
    let mut client = Client::connect(&collector.address("otlp")?).await?;
    let mut shop = Shop::new(1203);
    for _ in 0..20 {
        client.send(shop.request(SPANS)).await?;
    }
    collector
        .wait_for_message("exporting failed, will retry after the wait")
        .await?;
    std::fs::write(setup.file("spandrel.yaml"), yaml(&right))?;
    collector.hang_up()?;
    let accepted = client.delivered.len() as u64;
    right
        .wait("what waited", |taken| taken.totals.spans == accepted)
        .await?;
    until("empty queue", || async {
        let metrics = collector.metrics().await.ok()?;
        (metrics.sum("otelcol_exporter_queue_size", &[]) == 0).then_some(())
    })
    .await?;
    let ended = collector.stop().await?;
    ended.expect_code(0)?;
    let ledger = ended.ledger("traces")?;
    ledger.check()?;
    ensure!(ledger.exported == accepted, "{ledger:?}");
    Ok(())
}
