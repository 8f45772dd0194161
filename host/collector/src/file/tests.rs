use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use parking_lot::Mutex;
use prost::Message;
use spandrel_config::exporter::file::FileExporter as Settings;
use spandrel_pipeline::exporter::{Exporter as _, Outcome};
use spandrel_pipeline::ingress::{Acceptance, Ingress};
use spandrel_pipeline::refused::Refused;
use spandrel_wire::Signal;
use tokio_util::sync::CancellationToken;

use crate::file::exporter::FileExporter;
use crate::file::json;
use crate::file::receiver::FileReceiver;

fn batch(name: &str) -> Bytes {
    let value = Some(AnyValue {
        value: Some(Value::BytesValue(vec![1, 2, 3])),
    });
    let span = Span {
        trace_id: vec![0xab; 16],
        span_id: vec![0xcd; 8],
        name: name.to_owned(),
        start_time_unix_nano: u64::MAX,
        attributes: vec![KeyValue {
            key: "payload".to_owned(),
            value,
            ..KeyValue::default()
        }],
        ..Span::default()
    };
    let scope_spans = vec![ScopeSpans {
        spans: vec![span],
        ..ScopeSpans::default()
    }];
    let resource_spans = vec![ResourceSpans {
        scope_spans,
        ..ResourceSpans::default()
    }];
    ExportTraceServiceRequest { resource_spans }
        .encode_to_vec()
        .into()
}

fn settings(path: &std::path::Path, append: bool) -> Settings {
    Settings {
        path: path.to_owned(),
        append,
        rotation: None,
    }
}

/// Refuses the first offer, as a full pipeline does, and keeps the rest.
#[derive(Debug, Default)]
struct Taken {
    offers: Mutex<Vec<Bytes>>,
    refused: Mutex<bool>,
}

impl Ingress for Taken {
    fn offer(&self, _: Signal, request: Bytes) -> BoxFuture<'_, Result<Acceptance, Refused>> {
        let mut refused = self.refused.lock();
        if !std::mem::replace(&mut refused, true) {
            let retry_after = std::time::Duration::from_secs(1);
            return Box::pin(std::future::ready(Err(Refused::Full { retry_after })));
        }
        self.offers.lock().push(request);
        Box::pin(std::future::ready(Ok(Acceptance::default())))
    }

    fn carries(&self, signal: Signal) -> bool {
        signal == Signal::Traces
    }
}

/// The receiver reads what the exporter writes: byte for byte the same batches in the same order,
/// even when the pipeline is full for a while.
#[tokio::test(start_paused = true)]
async fn what_is_written_can_be_replayed() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("traces.jsonl");
    let exporter = FileExporter::open(&settings(&path, false)).expect("the file opens");
    for name in ["first", "second"] {
        let outcome = exporter.export(Signal::Traces, batch(name)).await;
        assert!(matches!(outcome, Outcome::Sent), "{outcome:?}");
    }
    exporter.flush().await.expect("flushed");

    let taken = Arc::new(Taken::default());
    let receiver = FileReceiver::open("file", &[path]).expect("the file opens");
    let ingress: Arc<dyn Ingress> = Arc::clone(&taken) as Arc<dyn Ingress>;
    receiver.replay(ingress, CancellationToken::new()).await;
    let offers = taken.offers.lock();
    assert_eq!(*offers, [batch("first"), batch("second")]);
}

/// No two processes (or exporters) write into one file. `append` keeps the content.
#[tokio::test]
async fn a_file_has_one_writer() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("traces.jsonl");
    std::fs::write(&path, "{}\n").expect("written");
    let first = FileExporter::open(&settings(&path, true)).expect("the file opens");
    let second = FileExporter::open(&settings(&path, true)).expect_err("the file has a writer");
    assert!(
        second.to_string().contains("another process writes to it"),
        "{second}"
    );
    assert!(matches!(
        first.export(Signal::Traces, batch("a")).await,
        Outcome::Sent
    ));
    assert_eq!(
        std::fs::read_to_string(&path)
            .expect("readable")
            .lines()
            .count(),
        2
    );
}

/// Lines of other programs are distinguished from OTLP/JSON.
#[test]
fn other_lines_are_bad() {
    for line in ["{}", "[]", "hello", r#"{"resourceSpans": 1}"#] {
        assert!(json::from_line(line.as_bytes()).is_err(), "{line}");
    }
    let line = br#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"name":"a"}]}]}]}"#;
    assert!(matches!(json::from_line(line), Ok((Signal::Traces, _))));
}
