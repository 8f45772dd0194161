use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message as _;
use spandrel_pipeline::ingress::{Accepted, Ingress};
use spandrel_pipeline::journal::{Poison, Shelf as _};
use spandrel_pipeline::ledger::Ledger;
use spandrel_pipeline::refused::Refused;
use spandrel_wire::Signal;

use crate::file::json;
use crate::quarantine::Quarantine;
use crate::quarantine::folder::Folder;
use crate::quarantine::{QuarantineStore, entry};
use crate::quarantines::{Action, Quarantines};
use crate::refusal::Refusal;
use crate::report::PipelineView;
use crate::status::{PipelineStatus, Snapshot, Status};

fn poison(name: &str) -> Poison {
    let span = Span {
        trace_id: vec![0xab; 16],
        span_id: vec![0xcd; 8],
        name: name.to_owned(),
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
        pipeline: "traces/2".to_owned(),
        signal: Signal::Traces,
        request: request.encode_to_vec().into(),
        items: 1,
        attempts: 3,
        accepted: SystemTime::UNIX_EPOCH + Duration::from_secs(1),
        reason: "stage `wasm/tag` failed: \"a trap\"\n".to_owned(),
    }
}

/// Takes batches unless it is closed.
#[derive(Debug, Default)]
struct FakeAdmission {
    taken: Mutex<Vec<Bytes>>,
    closed: Mutex<bool>,
}

impl Ingress for FakeAdmission {
    fn offer(&self, _: Signal, request: Bytes) -> BoxFuture<'_, Result<Accepted, Refused>> {
        let answer = if *self.closed.lock().expect("not poisoned") {
            let retry_after = Duration::from_secs(1);
            Err(Refused::Full { retry_after })
        } else {
            self.taken.lock().expect("not poisoned").push(request);
            Ok(Accepted::default())
        };
        Box::pin(std::future::ready(answer))
    }

    fn carries(&self, signal: Signal) -> bool {
        signal == Signal::Traces
    }
}

/// A batch in the store is a line that every reader of OTLP/JSON can read, with what happened to
/// the batch. Ids sort by time.
#[tokio::test]
async fn a_batch_is_kept_as_a_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("traces%2F2").join("quarantine");
    let store = QuarantineStore::open(&dir).expect("made");
    for name in ["first", "second"] {
        store.put(poison(name)).await.expect("put");
    }
    assert_eq!(store.put_so_far(), 2);
    let list = store.folder().list().expect("listed");
    assert_eq!(list.len(), 2);
    assert!(list[0].id < list[1].id);
    let first = &list[0];
    assert_eq!(
        (first.pipeline.as_str(), first.signal.as_str()),
        ("traces/2", "traces")
    );
    assert_eq!((first.items, first.attempts), (1, 3));
    assert_eq!(first.accepted, "1970-01-01T00:00:01.000Z");
    assert!(first.reason.contains("a trap"));
    let line = store.folder().text(&first.id).expect("there");
    assert_eq!(line.lines().count(), 1);
    assert!(!line.contains("spandrelBytes"), "{line}");
    let (signal, request) = json::from_line(line.as_bytes()).expect("OTLP/JSON");
    assert_eq!((signal, request), (Signal::Traces, poison("first").request));
    let files = std::fs::read_dir(&dir).expect("there").count();
    assert_eq!(files, 2, "nothing else is left behind");
}

/// Bytes that the JSON does not reproduce, or that no reader can decode, come back unchanged.
#[test]
fn every_byte_comes_back() {
    let mut unknown = poison("a");
    // A field that OTLP does not have.
    let newer = [&unknown.request[..], &[0xfa, 0x3e, 1, 7]].concat();
    unknown.request = newer.into();
    let mut garbage = poison("b");
    garbage.request = Bytes::from_static(&[0x0a, 0xff]);
    for poison in [unknown, garbage] {
        let line = entry::line("1", &poison);
        let (signal, request) = entry::request(&line).expect("a request");
        assert_eq!((signal, request), (poison.signal, poison.request));
        assert!(json::from_line(&line).is_ok());
    }
}

/// A reason may have any length, and no id leads out of the folder.
#[test]
fn what_a_plugin_says_harms_nothing() {
    let mut long = poison("a");
    long.reason = "\u{e9}\u{1b}[31m\"".repeat(20_000);
    let line = entry::line("1", &long);
    let about = entry::about(&line[..line.len().min(64 << 10)]).expect("all in the head");
    assert!(about.reason.len() <= 4 << 10);
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("secret.json"), "{}").expect("written");
    let inner = Folder::make(&folder.path().join("in")).expect("made");
    for id in [
        "../secret",
        "secret",
        "",
        ".",
        "1/../../secret",
        "/etc/passwd",
    ] {
        assert!(!inner.has(id), "{id}");
        assert!(inner.text(id).is_err() && inner.remove(id).is_err(), "{id}");
    }
}

/// A partial file of a process that was killed is removed at the next start, and a file that is not
/// a batch is listed with its fault.
#[test]
fn what_is_broken_is_said() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("1-1.tmp"), "{").expect("written");
    std::fs::write(folder.path().join("1-2.json"), "{\"resourceSpans\":[]}").expect("written");
    let opened = Folder::make(folder.path()).expect("made");
    assert!(!folder.path().join("1-1.tmp").exists());
    let list = opened.list().expect("listed");
    assert_eq!(list.len(), 1);
    assert!(list[0].reason.contains("cannot be read"), "{:?}", list[0]);
}

/// A full store takes nothing, and says what to do.
#[tokio::test]
async fn a_full_store_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = QuarantineStore::open(folder.path()).expect("made");
    for number in 0..1_000 {
        std::fs::write(folder.path().join(format!("{number}.json")), "{}").expect("written");
    }
    let error = store.put(poison("one more")).await.expect_err("full");
    assert!(
        error.to_string().contains("`spandrel quarantine ls`"),
        "{error}"
    );
    assert_eq!(store.put_so_far(), 0);
}

/// A replay offers the request to its pipeline. If that takes it, the file is removed; if it
/// refuses, the file stays and the report has the reason.
#[tokio::test]
async fn a_replay_is_an_offer() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Arc::new(QuarantineStore::open(folder.path()).expect("made"));
    let admission = Arc::new(FakeAdmission::default());
    let status = Arc::new(Status::default());
    let quarantines = Quarantines::new(Arc::clone(&status));
    status.publish(Snapshot {
        pipelines: vec![PipelineStatus {
            view: PipelineView {
                name: "traces".to_owned(),
                ..PipelineView::default()
            },
            ledger: Ledger::new("traces", Signal::Traces, []),
            queues: Arc::new(Vec::new),
            journal: None,
            quarantine: Some(Quarantine::new(
                Arc::clone(&store),
                Arc::clone(&admission) as _,
                None,
            )),
        }],
        ..Snapshot::default()
    });
    for name in ["a", "b", "c"] {
        store.put(poison(name)).await.expect("put");
    }
    let ids: Vec<String> = quarantines
        .list()
        .await
        .expect("listed")
        .into_iter()
        .map(|view| view.id)
        .collect();

    *admission.closed.lock().expect("not poisoned") = true;
    let refused = quarantines
        .change(Action::Replay, Some(ids[0].clone()))
        .await;
    assert!(
        matches!(&refused, Err(Refusal::Conflict(why)) if why.contains("overloaded")),
        "{refused:?}"
    );
    let all = quarantines
        .change(Action::Replay, None)
        .await
        .expect("tried");
    assert_eq!((all.done.len(), all.kept.len()), (0, 3));
    assert_eq!(quarantines.list().await.expect("listed").len(), 3);

    *admission.closed.lock().expect("not poisoned") = false;
    let one = quarantines
        .change(Action::Replay, Some(ids[0].clone()))
        .await
        .expect("taken");
    assert_eq!(one.done, ids[..1]);
    let dropped = quarantines
        .change(Action::Drop, Some(ids[1].clone()))
        .await
        .expect("dropped");
    assert_eq!(dropped.done, ids[1..2]);
    let gone = quarantines.change(Action::Drop, Some(ids[1].clone())).await;
    assert!(matches!(gone, Err(Refusal::NotFound(_))), "{gone:?}");
    let rest = quarantines
        .change(Action::Replay, None)
        .await
        .expect("taken");
    assert_eq!(rest.done, ids[2..]);
    let taken = admission.taken.lock().expect("not poisoned").clone();
    assert_eq!(taken, [poison("a").request, poison("c").request]);
}
