//! Metrics and logs pass unchanged; compressed clients are understood; spans that are not valid
//! OTLP are refused for good.

use anyhow::Result;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Exemplar, Gauge, Metric, NumberDataPoint, ResourceMetrics,
    ScopeMetrics, Sum, exemplar, number_data_point,
};
use opentelemetry_proto::tonic::trace::v1::Span;
use spandrel_tests::backend::Backend;
use spandrel_tests::client::{Client, channel};
use spandrel_tests::collector::{Collector, Setup};
use spandrel_tests::config::Config;
use spandrel_tests::shop::attribute::{number, text};
use spandrel_tests::shop::{Shop, now, resource, spans};
use tonic::codec::CompressionEncoding;

fn metrics(round: i64) -> ExportMetricsServiceRequest {
    let point = |value: i64| NumberDataPoint {
        attributes: vec![text("route", "/cart"), number("shard", value)],
        start_time_unix_nano: 1,
        time_unix_nano: now(),
        exemplars: vec![Exemplar {
            time_unix_nano: 5,
            value: Some(exemplar::Value::AsDouble(0.5)),
            span_id: vec![7; 8],
            ..Exemplar::default()
        }],
        value: Some(number_data_point::Value::AsInt(value)),
        ..NumberDataPoint::default()
    };
    let metric = |name: &str, data| Metric {
        name: name.to_owned(),
        unit: "1".to_owned(),
        data: Some(data),
        ..Metric::default()
    };
    let requests = Sum {
        data_points: (0..4).map(|value| point(round * 10 + value)).collect(),
        aggregation_temporality: AggregationTemporality::Cumulative.into(),
        is_monotonic: true,
    };
    let waiting = Gauge {
        data_points: vec![point(round)],
    };
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: Some(resource(1)),
            scope_metrics: vec![ScopeMetrics {
                metrics: vec![
                    metric("shop.requests", Data::Sum(requests)),
                    metric("shop.waiting", Data::Gauge(waiting)),
                ],
                ..ScopeMetrics::default()
            }],
            ..ResourceMetrics::default()
        }],
    }
}

fn logs(round: u64) -> ExportLogsServiceRequest {
    let record = |index: u64| LogRecord {
        time_unix_nano: round * 1000 + index,
        severity_text: "INFO".to_owned(),
        event_name: "order.placed".to_owned(),
        attributes: vec![text("order", format!("{round}-{index}"))],
        trace_id: vec![3; 16],
        ..LogRecord::default()
    };
    ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs {
            resource: Some(resource(2)),
            scope_logs: vec![ScopeLogs {
                log_records: (0..5).map(record).collect(),
                ..ScopeLogs::default()
            }],
            ..ResourceLogs::default()
        }],
    }
}

/// Metrics and logs that were sent on one port arrive at the backend, each data point and record
/// once and unchanged, and each pipeline's ledger counts them.
#[tokio::test]
async fn metrics_and_logs_pass_as_they_came() -> Result<()> {
    let backend = Backend::start().await?;
    let collector = Collector::start(&Setup::new(&Config::new(backend.endpoint()).yaml())?).await?;
    let channel = channel(&collector.address("otlp")?).await?;
    let mut metrics_client = MetricsServiceClient::new(channel.clone());
    let mut logs_client = LogsServiceClient::new(channel);
    let (mut sent_metrics, mut sent_logs) = (Vec::new(), Vec::new());
    for round in 0..10 {
        let (metrics, logs) = (metrics(round), logs(round.unsigned_abs()));
        metrics_client.export(metrics.clone()).await?;
        logs_client.export(logs.clone()).await?;
        sent_metrics.extend(metrics.resource_metrics);
        sent_logs.extend(logs.resource_logs);
    }
    let ended = collector.stop().await?;
    ended.expect_code(0)?;
    for (pipeline, items) in [("metrics", 10 * 5), ("logs", 10 * 5)] {
        let ledger = ended.ledger(pipeline)?;
        ledger.check()?;
        assert_eq!(
            (ledger.received, ledger.exported),
            (items, items),
            "{pipeline}"
        );
    }
    let taken = backend.taken();
    let metrics = taken
        .metrics
        .iter()
        .flat_map(|request| &request.resource_metrics);
    let logs = taken.logs.iter().flat_map(|request| &request.resource_logs);
    assert_same(metrics.cloned().collect(), sent_metrics);
    assert_same(logs.cloned().collect(), sent_logs);
    Ok(())
}

/// Compares two lists, ignoring the order.
fn assert_same<T: PartialEq + std::fmt::Debug>(mut found: Vec<T>, expected: Vec<T>) {
    for item in expected {
        let place = found.iter().position(|other| *other == item);
        let place = place.unwrap_or_else(|| panic!("missing, or not as it was: {item:?}"));
        found.swap_remove(place);
    }
    assert!(found.is_empty(), "nobody sent {found:?}");
}

/// Clients that compress with gzip or zstd are understood, and the exporter compresses too: every
/// span arrives at the backend unchanged.
#[tokio::test]
async fn compression_changes_nothing() -> Result<()> {
    for (ours, theirs) in [
        (CompressionEncoding::Gzip, "zstd"),
        (CompressionEncoding::Zstd, "gzip"),
        (CompressionEncoding::Zstd, "none"),
    ] {
        let backend = Backend::start().await?;
        backend.keep();
        let config = Config::new(backend.endpoint()).exporter(&format!("compression: {theirs}"));
        let collector = Collector::start(&Setup::new(&config.yaml())?).await?;
        let mut client = Client::connect(&collector.address("otlp")?)
            .await?
            .compressed(ours);
        let sent = Shop::new(21).request(300);
        client.send(sent.clone()).await?;
        collector.stop().await?.expect_code(0)?;
        let order = |resources: &[_]| {
            let mut spans: Vec<Span> = spans(resources).map(|(_, span)| span.clone()).collect();
            spans.sort_by(|left, right| left.span_id.cmp(&right.span_id));
            spans
        };
        assert_eq!(order(&backend.taken().traces), order(&sent.resource_spans));
        let expected = if theirs == "none" { "" } else { theirs };
        assert_eq!(backend.taken().encodings, [expected]);
    }
    Ok(())
}

/// An empty request is answered with OK and not sent to the backend. Spans without a valid id are
/// refused for good, so that they cannot poison the batch that they would be merged into, and the
/// other spans of their request arrive unchanged.
#[tokio::test]
async fn invalid_spans_are_refused_for_good() -> Result<()> {
    let backend = Backend::start().await?;
    backend.keep();
    let collector = Collector::start(&Setup::new(&Config::new(backend.endpoint()).yaml())?).await?;
    let mut client = TraceServiceClient::new(channel(&collector.address("otlp")?).await?);
    let mut refused = Vec::new();
    let mut expected = Vec::new();
    let mut shop = Shop::new(22);
    for bad in [0, 3, 7] {
        let mut request = shop.request(30);
        let all = request.resource_spans.iter_mut();
        let all = all.flat_map(|entry| &mut entry.scope_spans);
        for (at, span) in all.flat_map(|scope| &mut scope.spans).enumerate() {
            match at % 5 {
                _ if at >= bad => expected.push(span.clone()),
                0 => span.span_id = vec![1, 2, 3],
                1 => span.span_id.clear(),
                _ => span.trace_id.fill(0),
            }
        }
        let answer = client.export(request).await?.into_inner();
        refused.push(answer.partial_success.map_or(0, |partial| {
            assert!(partial.error_message.len() < 512, "{partial:?}");
            partial.rejected_spans
        }));
    }
    client.export(ExportTraceServiceRequest::default()).await?;
    assert_eq!(refused, [0, 3, 7]);
    let metrics = collector.metrics().await?;
    let counted = metrics.sum("spandrel_ledger_invalid_items", &[("pipeline", "traces")]);
    assert_eq!(counted, 10);
    let ended = collector.stop().await?;
    ended.expect_code(0)?;
    let ledger = ended.ledger("traces")?;
    ledger.check()?;
    assert_eq!(ledger.refused, 10);
    assert_eq!(ledger.exported, expected.len() as u64);
    assert_eq!(ledger.received, ledger.exported + 10);
    let taken = backend.taken().traces.clone();
    let taken = spans(&taken).map(|(_, span)| span.clone());
    assert_same(taken.collect(), expected);
    Ok(())
}
