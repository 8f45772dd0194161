//! Requests that every client sends, and their answers.

use ::http::{Request, Version};
use bytes::Bytes;
use prost::Message;
use spandrel_otlp::receiver::{HttpConfig, SignalPaths};
use spandrel_wire::{InvalidUtf8, Signal, json};

use super::wire::{Client, JSON, PROTOBUF, chunked, head, post};
use super::{http, start};
use crate::collector::Sink;
use crate::raw::{self, full, gzip};
use crate::round_trip::spans;

const TYPE: (&str, &str) = ("content-type", PROTOBUF);

fn zlib(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let level = flate2::Compression::default();
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), level);
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

/// Every signal arrives with unchanged bytes in every encoding, whole and in chunks, one request after
/// the other on one connection. The answer is an empty message.
#[tokio::test]
async fn bytes_arrive_unchanged() {
    let sink = Sink::open();
    let collector = start(http(), &sink).await;
    let mut client = Client::connect(collector.addr).await;
    let message = spans(20_000).encode_to_vec();
    let mut expected = Vec::new();
    for (path, signal) in [
        ("/v1/traces", Signal::Traces),
        ("/v1/metrics", Signal::Metrics),
        ("/v1/logs", Signal::Logs),
    ] {
        let zstd = zstd::encode_all(&message[..], 0).expect("memory");
        for (encoding, body) in [
            ("identity", message.clone()),
            ("gzip", gzip(&message)),
            ("x-gzip", gzip(&message)),
            ("zstd", zstd),
            ("deflate", zlib(&message)),
            ("zlib", zlib(&message)),
        ] {
            let encoding = ("content-encoding", encoding);
            let whole = post(path, &[TYPE, encoding], &body);
            let parts = [TYPE, encoding, ("transfer-encoding", "chunked")];
            let parts = [head("POST", path, &parts), chunked(&body, 10_000)].concat();
            for request in [whole, parts] {
                let answer = client.call(&request).await;
                assert_eq!((answer.code, answer.text()), (200, ""), "{encoding:?}");
                assert_eq!(answer.header("content-type"), Some(PROTOBUF));
                assert_eq!(answer.header("connection"), None);
                expected.push((signal, Bytes::from(message.clone())));
            }
        }
    }
    assert!(sink.taken() == expected, "bytes differ");
    assert_eq!(collector.stats.requests(0), 36);
    assert_eq!(collector.stats.connections(), 1);
}

/// A client of HTTP/2 that knows that the port speaks it is served, many requests at a time.
#[tokio::test]
async fn http2_is_served() {
    let sink = Sink::open();
    let collector = start(http(), &sink).await;
    let mut client = raw::Client::connect(collector.addr).await;
    for _ in 0..3 {
        let request = Request::post("http://collector/v1/traces")
            .version(Version::HTTP_2)
            .header("content-type", PROTOBUF)
            .body(full("x"))
            .expect("a request");
        let answer = client.call(request).await;
        assert_eq!((answer.http, answer.body.len()), (200, 0));
    }
    assert_eq!(sink.taken().len(), 3);
}

/// Requests may have other paths, and the usual ones are unknown then.
#[tokio::test]
async fn paths_are_chosen() {
    let sink = Sink::open();
    let paths = SignalPaths {
        traces: "/spans".to_owned(),
        ..SignalPaths::default()
    };
    let config = HttpConfig { paths, ..http() };
    let collector = start(config, &sink).await;
    let mut client = Client::connect(collector.addr).await;
    assert_eq!(client.post("/spans", b"x").await.code, 200);
    assert_eq!(client.post("/spans?key=1", b"x").await.code, 200);
    assert_eq!(client.post("/v1/logs", b"x").await.code, 200);
    let unknown = client.post("/v1/traces", b"x").await;
    assert_eq!(unknown.code, 404);
    assert_eq!(unknown.header("content-type"), Some(PROTOBUF));
    assert_eq!(sink.taken().len(), 3);
}

/// A request that is none of OTLP is refused in words that name the remedy, in the format of the
/// request or else in JSON, and the connection goes on.
#[tokio::test]
async fn what_is_no_export_is_named() {
    let sink = Sink::open();
    sink.carry(&[Signal::Traces]);
    let collector = start(http(), &sink).await;
    let mut client = Client::connect(collector.addr).await;
    let typed = |kind: &'static str| post("/v1/traces", &[("content-type", kind)], b"x");
    let coded = |encoding| post("/v1/traces", &[TYPE, ("content-encoding", encoding)], b"x");
    for (request, code, words) in [
        (head("GET", "/v1/traces", &[]), 405, "with POST"),
        (head("PUT", "/v1/traces", &[TYPE]), 405, "with POST"),
        (head("OPTIONS", "/v1/traces", &[]), 405, "with POST"),
        (
            head("GET", "/", &[]),
            404,
            "/v1/traces, /v1/metrics and /v1/logs",
        ),
        (post("/v1/trace", &[TYPE], b"x"), 404, "\"/v1/trace\""),
        (post("/v1/logs", &[TYPE], b"x"), 404, "no pipeline"),
        (
            typed("text/plain"),
            415,
            "application/x-protobuf or application/json",
        ),
        (typed("application/x-protobuffer"), 415, "application/json"),
        (post("/v1/traces", &[], b"x"), 415, "application/json"),
        (coded("snappy"), 415, "\"snappy\""),
        (coded("gzip, gzip"), 415, "identity, gzip, zstd, deflate"),
    ] {
        let answer = client.call(&request).await;
        let name = String::from_utf8_lossy(&request).into_owned();
        assert_eq!(answer.code, code, "{name}");
        assert!(
            String::from_utf8_lossy(&answer.body).contains(&words.replace('"', "\\\""))
                || String::from_utf8_lossy(&answer.body).contains(words),
            "{name}: {answer:?}"
        );
        let kind = if name.contains(PROTOBUF) && !name.contains("protobuffer") {
            PROTOBUF
        } else {
            JSON
        };
        assert_eq!(answer.header("content-type"), Some(kind), "{name}");
        let allow = (code == 405).then_some("POST");
        assert_eq!(answer.header("allow"), allow, "{name}");
        let encodings = name.contains("content-encoding");
        let encodings = encodings.then_some("identity, gzip, zstd, deflate");
        assert_eq!(answer.header("accept-encoding"), encodings, "{name}");
        assert_eq!(answer.header("connection"), None, "{name}");
    }
    assert_eq!(client.post("/v1/traces", b"x").await.code, 200);
    assert_eq!(sink.taken().len(), 1);
    // Each of them is an answer of the receiver, by the code of its status.
    assert_eq!(collector.stats.requests(12), 11);
}

/// Every response has the headers that are configured.
#[tokio::test]
async fn responses_have_headers() {
    let response_headers = vec![("strict-transport-security".to_owned(), "max-age=60".into())];
    let config = HttpConfig {
        response_headers,
        ..http()
    };
    let collector = start(config, &Sink::open()).await;
    let mut client = Client::connect(collector.addr).await;
    for path in ["/v1/traces", "/nobody"] {
        let answer = client.post(path, b"x").await;
        let header = answer.header("strict-transport-security");
        assert_eq!(header, Some("max-age=60"), "{path}");
    }
}

/// Only the encodings that are configured are taken.
#[tokio::test]
async fn encodings_are_chosen() {
    let config = HttpConfig {
        compressions: Vec::new(),
        ..http()
    };
    let collector = start(config, &Sink::open()).await;
    let mut client = Client::connect(collector.addr).await;
    let zipped = post(
        "/v1/traces",
        &[TYPE, ("content-encoding", "gzip")],
        &gzip(b"x"),
    );
    let answer = client.call(&zipped).await;
    assert_eq!(
        (answer.code, answer.header("accept-encoding")),
        (415, Some("identity"))
    );
    assert_eq!(client.post("/v1/traces", b"x").await.code, 200);
}

/// A client that asks first whether it may send its body is told so at once, and sends it. A client
/// that may not is refused without it.
#[tokio::test]
async fn a_body_may_be_announced() {
    let sink = Sink::open();
    let collector = start(http(), &sink).await;
    let headers = [TYPE, ("content-length", "1"), ("expect", "100-continue")];
    let mut client = Client::connect(collector.addr).await;
    client.send(&head("POST", "/v1/traces", &headers)).await;
    assert_eq!(client.any_answer().await.expect("leave").code, 100);
    client.send(b"x").await;
    assert_eq!(client.answer().await.expect("an answer").code, 200);
    let mut stranger = Client::connect(collector.addr).await;
    stranger.send(&head("POST", "/nobody", &headers)).await;
    let refused = stranger.any_answer().await.expect("an answer");
    assert_eq!(
        (refused.code, refused.header("connection")),
        (404, Some("close"))
    );
    assert_eq!(sink.taken().len(), 1);
}

/// A request in JSON reaches the pipeline as the bytes of the same request in protobuf, compressed or
/// not, and texts in it that are not UTF-8 are handled as the setting says.
#[tokio::test]
async fn json_becomes_protobuf() {
    let sink = Sink::open();
    let collector = start(http(), &sink).await;
    let mut client = Client::connect(collector.addr).await;
    let message = spans(1000).encode_to_vec();
    let mut text = Vec::new();
    json::from_protobuf(Signal::Traces, &message, &mut text).expect("a request");
    let kind = ("content-type", JSON);
    for request in [
        post("/v1/traces", &[kind], &text),
        post(
            "/v1/traces",
            &[kind, ("content-encoding", "gzip")],
            &gzip(&text),
        ),
    ] {
        let answer = client.call(&request).await;
        assert_eq!((answer.code, answer.text()), (200, "{}"));
    }
    let expected = (Signal::Traces, Bytes::from(message));
    assert!(sink.taken() == [expected.clone(), expected], "bytes differ");

    let broken = b"{\"resourceSpans\":[{\"schemaUrl\":\"a\xffb\"}]}";
    let answer = client.call(&post("/v1/traces", &[kind], broken)).await;
    assert_eq!(answer.code, 200);
    let (_, replaced) = sink.taken().pop().expect("taken");
    assert!(String::from_utf8_lossy(&replaced).contains("a\u{fffd}b"));
    let config = HttpConfig {
        invalid_utf8: InvalidUtf8::Reject,
        ..http()
    };
    let strict = start(config, &sink).await;
    let mut client = Client::connect(strict.addr).await;
    let answer = client.call(&post("/v1/traces", &[kind], broken)).await;
    assert_eq!(answer.code, 400, "{}", answer.text());
}
