//! Requests arrive with unchanged bytes, for every signal and every compression.

use std::sync::Arc;

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{Metric, ResourceMetrics, ScopeMetrics};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;
use spandrel_otlp::compression::Compression;
use spandrel_otlp::exporter::{ExporterConfig, GrpcExporter};
use spandrel_pipeline::exporter::{Exporter, Outcome};
use spandrel_wire::Signal;
use tonic::codec::CompressionEncoding;

use crate::backend::Backend;
use crate::collector::{Collector, Sink};

/// Returns a request with this many spans.
pub(crate) fn spans(count: usize) -> ExportTraceServiceRequest {
    let span = |at: usize| Span {
        trace_id: vec![7; 16],
        span_id: (at + 1).to_be_bytes().to_vec(),
        name: format!("GET /cart/{at}"),
        ..Span::default()
    };
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            scope_spans: vec![ScopeSpans {
                spans: (0..count).map(span).collect(),
                ..ScopeSpans::default()
            }],
            ..ResourceSpans::default()
        }],
    }
}

fn metrics() -> ExportMetricsServiceRequest {
    let metrics = vec![Metric {
        name: "requests".to_owned(),
        ..Metric::default()
    }];
    let scope_metrics = vec![ScopeMetrics {
        metrics,
        ..ScopeMetrics::default()
    }];
    let resource_metrics = vec![ResourceMetrics {
        scope_metrics,
        ..ResourceMetrics::default()
    }];
    ExportMetricsServiceRequest { resource_metrics }
}

fn logs() -> ExportLogsServiceRequest {
    let log_records = vec![LogRecord {
        severity_text: "WARN".to_owned(),
        ..LogRecord::default()
    }];
    let scope_logs = vec![ScopeLogs {
        log_records,
        ..ScopeLogs::default()
    }];
    let resource_logs = vec![ResourceLogs {
        scope_logs,
        ..ResourceLogs::default()
    }];
    ExportLogsServiceRequest { resource_logs }
}

/// Generated clients reach the pipeline with every signal, plain, gzip and zstd, and the bytes are
/// those that they encoded. The answer is full success: `partial_success` is unset.
#[tokio::test]
async fn real_clients_are_received() {
    let sink = Sink::open();
    let collector = Collector::start(&sink).await;
    let mut expected = Vec::new();
    for encoding in [
        None,
        Some(CompressionEncoding::Gzip),
        Some(CompressionEncoding::Zstd),
    ] {
        macro_rules! send {
            ($client:ident, $signal:expr, $request:expr) => {
                let mut client = $client::connect(collector.url()).await.expect("connects");
                if let Some(encoding) = encoding {
                    client = client.send_compressed(encoding);
                }
                let request = $request;
                expected.push(($signal, Bytes::from(request.encode_to_vec())));
                let response = client.export(request).await.expect("accepted");
                assert_eq!(response.into_inner().partial_success, None);
            };
        }
        send!(TraceServiceClient, Signal::Traces, spans(20_000));
        send!(MetricsServiceClient, Signal::Metrics, metrics());
        send!(LogsServiceClient, Signal::Logs, logs());
    }
    assert!(sink.taken() == expected, "bytes differ");
    assert_eq!(collector.stats.requests(0), 9);
}

/// A real backend gets every signal, plain, gzip and zstd.
#[tokio::test]
async fn a_real_backend_is_reached() {
    let (backend, _task) = Backend::start().await;
    for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
        let exporter = exporter(&backend.url(), compression);
        for (signal, batch) in [
            (Signal::Traces, spans(5000).encode_to_vec()),
            (Signal::Metrics, metrics().encode_to_vec()),
            (Signal::Logs, logs().encode_to_vec()),
        ] {
            let outcome = exporter.export(signal, batch.into()).await;
            assert!(matches!(outcome, Outcome::Sent), "{outcome:?}");
        }
        let (metadata, traces) = backend.traces.lock().unwrap().pop().expect("one");
        assert_eq!(traces, spans(5000));
        let encoding = metadata.get("grpc-encoding").map(|v| v.to_str().unwrap());
        let expected = match compression {
            Compression::None => None,
            Compression::Gzip => Some("gzip"),
            Compression::Zstd => Some("zstd"),
            Compression::Deflate => Some("deflate"),
        };
        assert_eq!(encoding, expected);
        assert_eq!(backend.metrics.lock().unwrap().pop(), Some(metrics()));
        assert_eq!(backend.logs.lock().unwrap().pop(), Some(logs()));
    }
}

/// The bytes that an exporter sends are those that a receiver gets, even if no parser of OTLP could
/// read them.
#[tokio::test]
async fn bytes_pass_untouched() {
    let sink = Sink::open();
    let collector = Collector::start(&sink).await;
    for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
        let exporter = exporter(&collector.url(), compression);
        for len in [0, 1, 70_000, 3_000_000] {
            let batch: Bytes = (0..len).map(|at: u32| at.to_le_bytes()[1]).collect();
            let outcome = exporter.export(Signal::Logs, batch.clone()).await;
            assert!(matches!(outcome, Outcome::Sent), "{outcome:?}");
            let arrived = sink.taken().pop().expect("one");
            assert!(arrived == (Signal::Logs, batch), "{compression:?} {len}");
        }
    }
}

pub(crate) fn exporter(url: &str, compression: Compression) -> Arc<GrpcExporter> {
    let config = ExporterConfig {
        compression,
        ..patient(url)
    };
    Arc::new(GrpcExporter::new(&config).expect("a good config"))
}

/// Returns settings with a timeout that a busy test machine does not reach.
pub(crate) fn patient(url: &str) -> ExporterConfig {
    ExporterConfig {
        timeout: std::time::Duration::from_secs(60),
        ..ExporterConfig::new(url)
    }
}
