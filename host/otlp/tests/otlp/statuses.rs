//! The statuses that senders get over the wire: one table for all requests that can come in,
//! whichever part answers them.

mod http;
mod rows;
mod sites;

use ::http::Request;
use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use prost::Message;
use spandrel_wire::Signal;
use tonic::Code;
use tonic::codec::CompressionEncoding;
use tonic_types::StatusExt;

use self::sites::Sites;
use crate::collector::{Collector, Sink};
use crate::raw::{Body, Client, LOGS, TRACES, framed, full, request};
use crate::round_trip::spans;

/// The longest request that a receiver takes.
const LIMIT: usize = 4 << 20;

fn sent(flag: u8, encoding: Option<&str>, message: &[u8]) -> Request<Body> {
    request(TRACES, encoding, full(framed(flag, message)))
}

/// The answer that a sender gets.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Told {
    /// OK, and nothing else.
    Whole,
    /// OK, but this many spans were refused.
    But(i64),
    /// Refused for now: the sender is to come again after a while.
    Later(Code),
    /// Refused for good.
    Never(Code),
}

/// Every kind of request gets the status that OTLP and gRPC give it. Requests that may be sent
/// again get a RetryInfo and a code to retry, the others get neither. No status is OUT_OF_RANGE,
/// which a sender would repeat for ever. A connection outlives every answer.
#[tokio::test]
async fn every_request_has_its_status() {
    let sites = Sites::open().await;
    for (name, at, request, told) in rows::all() {
        let mut client = sites.client(at).await;
        let answer = client.call(request).await;
        let code = match told {
            Told::Whole | Told::But(_) => Code::Ok,
            Told::Later(code) | Told::Never(code) => code,
        };
        assert_eq!((answer.http, answer.code()), (200, code), "{name}");
        assert_ne!(code, Code::OutOfRange, "{name}");
        let status = answer.status.expect("seen above");
        let hint = status.get_details_retry_info();
        let wait = hint.and_then(|hint| hint.retry_delay);
        assert_eq!(wait.is_some(), matches!(told, Told::Later(_)), "{name}");
        assert!(wait.is_none_or(|wait| !wait.is_zero()), "{name}");
        if code != Code::Ok {
            let message = status.message();
            assert!((1..512).contains(&message.len()), "{name}: {message}");
            assert!(!message.chars().any(char::is_control), "{name}: {message}");
        }
        match told {
            Told::Whole => assert_eq!(answer.body, Bytes::from_static(&[0; 5]), "{name}"),
            Told::But(spans) => assert_eq!(rejected(&answer.body), spans, "{name}"),
            Told::Later(_) | Told::Never(_) => assert!(answer.body.is_empty(), "{name}"),
        }
        let accepted = answer.headers.get("grpc-accept-encoding");
        let accepted = accepted.map(|names| names.to_str().expect("text"));
        let expected = (code == Code::Unimplemented).then_some("identity,gzip,zstd");
        assert_eq!(accepted, expected, "{name}");
        client.send.ready().await.expect(name);
    }
    let books = sites.open.pipeline.ledger().books();
    assert!(books.is_balanced(), "{books}");
    assert_eq!((books.refused, books.invalid_items), (12, 12));
}

/// Returns the number of items that a response says were refused; it says where and why in a few
/// words.
fn rejected(body: &[u8]) -> i64 {
    let response = ExportTraceServiceResponse::decode(&body[5..]).expect("a response");
    let partial = response.partial_success.expect("a partial success");
    let why = partial.error_message;
    assert!(why.contains(" refused: resource 1"), "{why}");
    assert!(why.len() < 512, "{why}");
    partial.rejected_spans
}

/// OTLP's own client is told how many spans were refused, and its request goes on without them.
#[tokio::test]
async fn a_client_hears_of_invalid_spans() {
    let sites = Sites::open().await;
    let client = TraceServiceClient::connect(sites.open.collector.url()).await;
    let mut client = client
        .expect("connects")
        .send_compressed(CompressionEncoding::Gzip);
    let mut request = spans(10);
    let sent = &mut request.resource_spans[0].scope_spans[0].spans;
    sent[2].span_id = vec![1, 2, 3];
    sent[5].trace_id.fill(0);
    sent[9].span_id.clear();
    let mut expected = request.clone();
    let kept = &mut expected.resource_spans[0].scope_spans[0].spans;
    for invalid in [9, 5, 2] {
        kept.remove(invalid);
    }
    let answer = client.export(request).await.expect("accepted");
    let partial = answer.into_inner().partial_success;
    let expected_partial = ExportTracePartialSuccess {
        rejected_spans: 3,
        error_message: "3 spans refused: \
            resource 1, span 3 \"GET /cart/2\": id in span of 3 bytes instead of 8; \
            resource 1, span 6 \"GET /cart/5\": no valid trace id or span id: empty or all zero; \
            resource 1, span 10 \"GET /cart/9\": no valid trace id or span id: empty or all zero"
            .to_owned(),
    };
    assert_eq!(partial, Some(expected_partial));
    let whole = client.export(spans(2)).await.expect("accepted");
    assert_eq!(whole.into_inner().partial_success, None);
    let mut left = sites.open.backend.taken();
    while left.len() < 2 {
        tokio::task::yield_now().await;
        left = sites.open.backend.taken();
    }
    let decoded = left
        .iter()
        .map(|batch| ExportTraceServiceRequest::decode(&batch[..]).expect("valid"));
    let decoded: Vec<_> = decoded.collect();
    assert!(decoded.contains(&expected), "{decoded:?}");
    assert!(decoded.contains(&spans(2)), "{decoded:?}");
}

/// A signal without a pipeline is UNIMPLEMENTED, as in the Collector, and the others are not. Once
/// a reload gives it a pipeline, it is taken on the same connection.
#[tokio::test]
async fn a_signal_without_a_pipeline_is_unimplemented() {
    let sink = Sink::open();
    sink.carry(&[Signal::Traces]);
    let collector = Collector::start(&sink).await;
    let mut client = Client::connect(collector.addr).await;
    let logs = || request(LOGS, None, full(framed(0, b"x")));
    assert_eq!(client.call(logs()).await.code(), Code::Unimplemented);
    assert_eq!(client.call(sent(0, None, b"x")).await.code(), Code::Ok);
    sink.carry(&[Signal::Logs]);
    assert_eq!(client.call(logs()).await.code(), Code::Ok);
    let traces = client.call(sent(0, None, b"x")).await;
    assert_eq!(traces.code(), Code::Unimplemented);
}

/// A client that does not speak gRPC is told so in terms of HTTP, and told what this port speaks.
#[tokio::test]
async fn what_is_not_grpc_is_told_so() {
    let collector = Collector::start(&Sink::open()).await;
    let mut client = Client::connect(collector.addr).await;
    let post = |path: &str, kind: Option<&str>| {
        let mut request = Request::post(format!("http://collector{path}"));
        if let Some(kind) = kind {
            request = request.header("content-type", kind);
        }
        request.body(full("{}")).expect("a request")
    };
    let get = Request::get("http://collector/")
        .body(full(""))
        .expect("a request");
    for (request, code) in [
        (post(TRACES, Some("application/json")), 415),
        (post("/v1/traces", Some("application/x-protobuf")), 415),
        (post(TRACES, Some("application/grpc-web+proto")), 415),
        (post(TRACES, None), 415),
        (get, 405),
    ] {
        let answer = client.call(request).await;
        assert_eq!(answer.http, code);
        let text = str::from_utf8(&answer.body).expect("text");
        assert!(text.starts_with("this port speaks OTLP/gRPC: "), "{text}");
        let allow = answer.headers.get("allow").map(|allow| allow.as_bytes());
        assert_eq!(allow, (code == 405).then_some(&b"POST"[..]));
    }
    let counted: Vec<_> = collector.stats.wrong_protocols().collect();
    assert_eq!(counted, [("HTTP/2 without gRPC", 5)]);
}

/// A gRPC client that does not send OTLP is told what it sent and what is accepted.
#[tokio::test]
async fn what_is_not_otlp_is_named() {
    let collector = Collector::start(&Sink::open()).await;
    let mut client = Client::connect(collector.addr).await;
    let typed = |kind: &'static str| {
        let mut request = sent(0, None, b"");
        let kind = ::http::HeaderValue::from_static(kind);
        request.headers_mut().insert("content-type", kind);
        request
    };
    let jaeger = "/jaeger.api_v2.CollectorService/PostSpans";
    for (request, words) in [
        (
            request(jaeger, None, full(framed(0, b""))),
            [
                jaeger,
                "opentelemetry.proto.collector.trace.v1.TraceService",
            ],
        ),
        (
            sent(1, Some("snappy"), b"x"),
            ["\"snappy\"", "gzip or zstd"],
        ),
        (
            typed("application/grpc+json"),
            ["\"+json\"", "send protobuf"],
        ),
    ] {
        let answer = client.call(request).await;
        assert_eq!(answer.code(), Code::Unimplemented);
        let status = answer.status.expect("seen above");
        for word in words {
            assert!(status.message().contains(word), "{}", status.message());
        }
    }
    for kind in ["application/grpc;charset=utf-8", "Application/gRPC+proto"] {
        let kind = typed(kind);
        let answer = client.call(kind).await;
        // The part behind the plus is a name, and names are lower case.
        assert!(answer.status.is_some(), "{answer:?}");
        assert_eq!(answer.code(), Code::Ok);
    }
    assert_eq!(collector.stats.wrong_protocols().count(), 0);
}
