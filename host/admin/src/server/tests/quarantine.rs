//! The quarantine over HTTP.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message as _;
use spandrel_collector::quarantine::{Quarantine, QuarantineStore};
use spandrel_collector::report::{QuarantineReport, QuarantinedView};
use spandrel_pipeline::ingress::{Accepted, Ingress};
use spandrel_pipeline::journal::{Poison, Shelf as _};
use spandrel_pipeline::refused::Refused;
use spandrel_wire::Signal;

use super::setup::{Served, snapshot};

#[derive(Debug)]
struct Stopping;

impl Ingress for Stopping {
    fn offer(&self, _: Signal, _: Bytes) -> BoxFuture<'_, Result<Accepted, Refused>> {
        Box::pin(std::future::ready(Err(Refused::Draining)))
    }

    fn carries(&self, _: Signal) -> bool {
        true
    }
}

fn poison() -> Poison {
    let span = Span {
        trace_id: vec![0xab; 16],
        span_id: vec![0xcd; 8],
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
    let request = ExportTraceServiceRequest { resource_spans };
    Poison {
        pipeline: "traces".to_owned(),
        signal: Signal::Traces,
        request: request.encode_to_vec().into(),
        items: 1,
        attempts: 3,
        accepted: SystemTime::UNIX_EPOCH + Duration::from_secs(1),
        reason: "stage `wasm/tag` failed".to_owned(),
    }
}

/// Batches are listed, shown, replayed and dropped. Each change leaves one line that names the
/// batch, and an unknown batch is a 404.
#[tokio::test]
async fn batches_are_shown_and_changed() {
    let served = Served::unix().await;
    let folder = tempfile::tempdir().expect("a folder");
    let store = Arc::new(QuarantineStore::open(folder.path()).expect("made"));
    store.put(poison()).await.expect("put");
    let quarantine = Quarantine::new(store, Arc::new(Stopping), None);
    served.fake.status.publish(snapshot(Some(quarantine)));

    let (code, _, body) = served.ask("GET", "/v1/quarantine").await;
    assert_eq!(code, 200, "{body}");
    let all: Vec<QuarantinedView> = serde_json::from_str(&body).expect("views");
    let id = &all.first().expect("one").id;
    let (code, _, body) = served.ask("GET", &format!("/v1/quarantine/{id}")).await;
    assert!(code == 200 && body.contains("resourceSpans"), "{body}");

    let (code, _, body) = served
        .ask("POST", &format!("/v1/quarantine/{id}/replay"))
        .await;
    assert_eq!(code, 503, "{body}");
    let (code, _, body) = served.ask("POST", "/v1/quarantine/drop").await;
    let report: QuarantineReport = serde_json::from_str(&body).expect("a report");
    assert_eq!((code, &report.done), (200, &vec![id.clone()]));
    for path in [
        format!("/v1/quarantine/{id}"),
        "/v1/quarantine/..%2Fa".to_owned(),
    ] {
        let (code, _, body) = served.ask("GET", &path).await;
        assert_eq!(code, 404, "{body}");
    }
    let lines = served.log.lines_with("change asked for at the admin API");
    assert_eq!(lines.len(), 2, "{lines:?}");
    let (replay, dropped) = (&lines[0], &lines[1]);
    assert!(
        replay.contains("what=\"replay\"") && replay.contains(id.as_str()),
        "{replay}"
    );
    assert!(dropped.contains("1 done, 0 kept"), "{dropped}");
}
