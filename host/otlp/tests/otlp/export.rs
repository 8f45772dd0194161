//! The outcomes of attempts, with a real backend and with none.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http_body_util::Full;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use spandrel_otlp::compression::Compression;
use spandrel_otlp::exporter::{ExporterConfig, ExporterError, GrpcExporter};
use spandrel_otlp::receiver::GrpcConfig;
use spandrel_pipeline::exporter::{Exporter, Outcome};
use spandrel_wire::Signal;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::backend::{Answer, Backend};
use crate::collector::{Collector, Sink};
use crate::round_trip::{exporter, patient, spans};

fn batch() -> Bytes {
    spans(3).encode_to_vec().into()
}

async fn traces(exporter: &GrpcExporter) -> Outcome {
    exporter.export(Signal::Traces, batch()).await
}

/// The config's headers, binary ones too, our user agent and our timeout reach the backend.
#[tokio::test]
async fn headers_reach_the_backend() {
    let (backend, _task) = Backend::start().await;
    let config = ExporterConfig {
        headers: vec![
            ("Authorization".to_owned(), "Bearer t0ken".into()),
            ("x-tenant".to_owned(), "shop".into()),
            ("x-key-bin".to_owned(), "raw".into()),
        ],
        timeout: Duration::from_secs(30),
        ..ExporterConfig::new(backend.url())
    };
    let exporter = GrpcExporter::new(&config).expect("a good config");
    assert!(matches!(traces(&exporter).await, Outcome::Sent));
    let (metadata, _) = backend.traces.lock().unwrap().pop().expect("one");
    let text = |name| {
        metadata
            .get(name)
            .expect(name)
            .to_str()
            .expect(name)
            .to_owned()
    };
    assert_eq!(text("authorization"), "Bearer t0ken");
    assert_eq!(text("x-tenant"), "shop");
    assert_eq!(text("grpc-timeout"), "30000m");
    let agent = text("user-agent");
    assert!(agent.starts_with("Spandrel/0.1"), "{agent}");
    let key = metadata.get_bin("x-key-bin").expect("key");
    assert_eq!(key.to_bytes().expect("bytes"), "raw");
}

/// A status of the backend, with its RetryInfo, decides over the wire.
#[tokio::test]
async fn the_backends_status_decides() {
    let (backend, _task) = Backend::start().await;
    let exporter = exporter(&backend.url(), Compression::Gzip);
    backend.answers(Answer::Status(Status::unavailable("restarting")));
    match traces(&exporter).await {
        Outcome::Retry { after: None, error } => {
            let expected = format!("{} answered UNAVAILABLE: restarting", backend.url());
            assert_eq!(error, expected);
        }
        other => panic!("{other:?}"),
    }
    let details = ErrorDetails::with_retry_info(Some(Duration::from_secs(3)));
    let throttled = Status::with_error_details(Code::ResourceExhausted, "slow down", details);
    backend.answers(Answer::Status(throttled));
    match traces(&exporter).await {
        Outcome::Retry { after, .. } => assert_eq!(after, Some(Duration::from_secs(3))),
        other => panic!("{other:?}"),
    }
    backend.answers(Answer::Status(Status::invalid_argument("bad span")));
    match traces(&exporter).await {
        Outcome::Permanent { error, .. } => assert!(error.contains("bad span"), "{error}"),
        other => panic!("{other:?}"),
    }
}

/// Items that a backend rejects are reported, never sent again; a warning without items is reported
/// too.
#[tokio::test]
async fn partial_success_is_told() {
    let (backend, _task) = Backend::start().await;
    let exporter = exporter(&backend.url(), Compression::Gzip);
    for (rejected, message) in [(2, "too old"), (0, "soon too old"), (1, "")] {
        backend.answers(Answer::Partial { rejected, message });
        match traces(&exporter).await {
            Outcome::Partial {
                rejected: got,
                message: said,
            } => assert_eq!((i64::try_from(got), said.as_str()), (Ok(rejected), message)),
            other => panic!("{other:?}"),
        }
    }
    let (rejected, message) = (0, "");
    backend.answers(Answer::Partial { rejected, message });
    assert!(matches!(traces(&exporter).await, Outcome::Sent));
}

/// Attempts run side by side on one connection.
#[tokio::test]
async fn attempts_run_side_by_side() {
    let (backend, _task) = Backend::start().await;
    backend.answers(Answer::Wait);
    let exporter = exporter(&backend.url(), Compression::None);
    let mut attempts = JoinSet::new();
    for _ in 0..10 {
        let exporter = Arc::clone(&exporter);
        attempts.spawn(async move { traces(&exporter).await });
    }
    // All ten are at the backend before one of them is answered.
    let waiting = backend.waiting.acquire_many(10).await.expect("open");
    waiting.forget();
    backend.gate.add_permits(10);
    while let Some(outcome) = attempts.join_next().await {
        assert!(matches!(outcome.expect("no panic"), Outcome::Sent));
    }
}

/// A backend that does not answer costs one timeout, and the attempt may be repeated.
#[tokio::test]
async fn a_silent_backend_costs_one_timeout() {
    let (backend, _task) = Backend::start().await;
    backend.answers(Answer::Wait);
    let config = ExporterConfig {
        timeout: Duration::from_millis(100),
        ..ExporterConfig::new(backend.url())
    };
    let exporter = GrpcExporter::new(&config).expect("a good config");
    match traces(&exporter).await {
        Outcome::Retry { after: None, error } => {
            assert!(error.contains(&backend.url()), "{error}");
        }
        other => panic!("{other:?}"),
    }
}

/// A dead endpoint is named with the cause. When the backend comes up, the same exporter finds it,
/// and finds it again after the backend was replaced.
#[tokio::test]
async fn a_lost_backend_is_found_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let addr = listener.local_addr().expect("bound");
    drop(listener);
    let exporter = exporter(&format!("http://{addr}"), Compression::Gzip);
    match traces(&exporter).await {
        Outcome::Retry { after: None, error } => {
            assert!(error.contains(&addr.to_string()), "{error}");
            assert!(error.contains("refused"), "{error}");
        }
        other => panic!("{other:?}"),
    }
    for _ in 0..3 {
        let sink = Sink::open();
        let backend = Collector::start_with(GrpcConfig::new(addr.to_string()), &sink).await;
        // The first attempt may still see the end of the earlier connection.
        while !matches!(traces(&exporter).await, Outcome::Sent) {}
        assert_eq!(sink.taken(), [(Signal::Traces, batch())]);
        backend.stop();
        assert_eq!(backend.closed().await.connections_cut, 0);
    }
}

/// Starts a server of HTTP/2 that answers everything with this status and body.
async fn http_server(status: u16, grpc: bool, body: Vec<u8>) -> (String, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    let mut task = JoinSet::new();
    task.spawn(async move {
        let (stream, _) = listener.accept().await.expect("a client");
        let service = service_fn(move |_request| {
            let mut response = Response::builder().status(status);
            if grpc {
                response = response.header("content-type", "application/grpc");
            }
            let response = response.body(Full::new(Bytes::from(body.clone())));
            std::future::ready(Ok::<_, Infallible>(response.expect("a response")))
        });
        let http2 = http2::Builder::new(TokioExecutor::new());
        drop(http2.serve_connection(TokioIo::new(stream), service).await);
    });
    (url, task)
}

/// Answers that are not gRPC's are understood: a proxy's 503 is worth another attempt, a 404 is
/// not.
#[tokio::test]
async fn answers_of_proxies_are_understood() {
    let (url, _task) = http_server(503, false, Vec::new()).await;
    let outcome = traces(&exporter(&url, Compression::Gzip)).await;
    assert!(matches!(outcome, Outcome::Retry { .. }), "{outcome:?}");
    let (url, _task) = http_server(404, false, b"<html>".to_vec()).await;
    let outcome = traces(&exporter(&url, Compression::Gzip)).await;
    assert!(matches!(outcome, Outcome::Permanent { .. }), "{outcome:?}");
}

/// Both directions have limits: a batch too long is never sent, a response too long is not awaited.
#[tokio::test]
async fn lengths_are_limited() {
    let (url, _task) = http_server(200, true, vec![0; 5 << 20]).await;
    match traces(&exporter(&url, Compression::Gzip)).await {
        Outcome::Permanent { error, .. } => assert!(error.contains("4194304"), "{error}"),
        other => panic!("{other:?}"),
    }
    let config = ExporterConfig {
        max_request: 10,
        ..patient("http://127.0.0.1:1")
    };
    let exporter = GrpcExporter::new(&config).expect("a good config");
    match traces(&exporter).await {
        Outcome::Permanent { error, .. } => assert!(error.contains("10 bytes"), "{error}"),
        other => panic!("{other:?}"),
    }
}

/// A config that cannot work is refused when the exporter is made, without showing secrets.
#[tokio::test]
async fn bad_configs_are_refused() {
    let bad = GrpcExporter::new(&ExporterConfig::new("http://backend/v1/traces"));
    assert!(matches!(bad, Err(ExporterError::Endpoint { .. })));
    for (name, value) in [
        ("content-type", "text/plain"),
        ("grpc-timeout", "1S"),
        ("bad name", "x"),
        ("authorization", "s3cret\n"),
    ] {
        let config = ExporterConfig {
            headers: vec![(name.to_owned(), value.into())],
            ..ExporterConfig::new("http://backend:4317")
        };
        let error = GrpcExporter::new(&config).expect_err(name);
        let text = format!("{error} {error:?}");
        assert!(text.contains(name) && !text.contains("s3cret"), "{text}");
    }
}

/// An exporter that a reload replaces takes its connection with it, once its last attempt is over.
#[tokio::test]
async fn the_connection_goes_with_the_exporter() {
    let sink = Sink::open();
    let collector = Collector::start(&sink).await;
    let url = format!("http://{}", collector.addr);
    let exporter = GrpcExporter::new(&ExporterConfig::new(url)).expect("an endpoint");
    assert!(matches!(traces(&exporter).await, Outcome::Sent));
    assert_eq!(collector.stats.open_connections(), 1);
    drop(exporter);
    let closed = async {
        while collector.stats.open_connections() > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), closed)
        .await
        .expect("the connection is closed");
}
