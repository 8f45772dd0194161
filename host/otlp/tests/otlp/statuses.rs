//! What senders are told over the wire: one table for all that can come in.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use prost::Message;
use spandrel_otlp::receiver::ReceiverConfig;
use spandrel_pipeline::journal::Unwritten;
use spandrel_pipeline::refused::Refused;
use spandrel_wire::Invalid;
use spandrel_wire::Signal;
use tonic::Code;
use tonic_types::StatusExt;

use crate::collector::{Collector, Sink, config};
use crate::raw::{Body, Client, LOGS, TRACES, framed, full, gzip, request};
use crate::round_trip::spans;

type Refusal = fn() -> Result<(), Refused>;

const LIMIT: usize = 4 << 20;

fn limited() -> ReceiverConfig {
    ReceiverConfig {
        max_recv_msg_size: LIMIT,
        ..config()
    }
}

fn sent(flag: u8, encoding: Option<&str>, message: &[u8]) -> Request<Body> {
    request(TRACES, encoding, full(framed(flag, message)))
}

/// Every kind of request gets the status that OTLP and gRPC give it; of those that fail, none may
/// be sent again, so none has a RetryInfo; and the connection goes on.
#[tokio::test]
async fn every_request_has_its_status() {
    let sink = Sink::open();
    let collector = Collector::start_with(limited(), &sink).await;
    let mut client = Client::connect(collector.addr).await;
    let good = spans(3).encode_to_vec();
    let zipped = gzip(&good);
    let bomb = gzip(&vec![0; 64 << 20]);
    assert!(bomb.len() < 128 << 10);
    let zstd = zstd::encode_all(&good[..], 0).expect("memory");
    let table: Vec<(&str, Request<Body>, Code)> = vec![
        ("plain", sent(0, None, &good), Code::Ok),
        ("identity", sent(0, Some("identity"), &good), Code::Ok),
        ("gzip", sent(1, Some("gzip"), &zipped), Code::Ok),
        ("gzip unused", sent(0, Some("gzip"), &good), Code::Ok),
        ("zstd", sent(1, Some("zstd"), &zstd), Code::Ok),
        ("empty", sent(0, None, b""), Code::Ok),
        ("at the limit", sent(0, None, &vec![0; LIMIT]), Code::Ok),
        (
            "5 MiB over a limit of 4 MiB",
            sent(0, None, &vec![0; 5 << 20]),
            Code::ResourceExhausted,
        ),
        (
            "gzip bomb",
            sent(1, Some("gzip"), &bomb),
            Code::ResourceExhausted,
        ),
        (
            "truncated gzip",
            sent(1, Some("gzip"), &zipped[..zipped.len() - 9]),
            Code::InvalidArgument,
        ),
        (
            "gzip that is none",
            sent(1, Some("gzip"), &good),
            Code::InvalidArgument,
        ),
        ("brotli", sent(1, Some("br"), &good), Code::Unimplemented),
        (
            "no message",
            request(TRACES, None, full("")),
            Code::InvalidArgument,
        ),
        (
            "half a message",
            request(TRACES, None, full(framed(0, &good)[..20].to_vec())),
            Code::InvalidArgument,
        ),
        (
            "other method",
            request("/grpc.Other/Call", None, full(framed(0, &good))),
            Code::Unimplemented,
        ),
    ];
    for (name, request, code) in table {
        let answer = client.call(request).await;
        assert_eq!((answer.http, answer.code()), (200, code), "{name}");
        let status = answer.status.expect("seen above");
        assert!(status.get_details_retry_info().is_none(), "{name}");
        if code == Code::Ok {
            assert_eq!(answer.body, Bytes::from_static(&[0; 5]), "{name}");
        } else {
            assert!((1..200).contains(&status.message().len()), "{name}");
        }
        if name == "brotli" {
            let accepted = answer.headers.get("grpc-accept-encoding");
            assert_eq!(accepted.expect("named"), "identity,gzip,zstd");
        }
    }
    assert_eq!(sink.taken().len(), 7);
}

fn malformed() -> Result<(), Refused> {
    let (what, offset) = ("span", 3);
    Err(Refused::Invalid(Invalid::Malformed { what, offset }))
}

fn too_deep() -> Result<(), Refused> {
    Err(Refused::Invalid(Invalid::OverLimit {
        what: "levels of nested values",
        limit: 32,
    }))
}

fn no_disk() -> Result<(), Refused> {
    let what = "the disk";
    Err(Refused::Unwritten {
        retry_after: Duration::from_secs(2),
        source: Unwritten::Full { what },
    })
}

/// What the pipeline refuses arrives with its code, and with a time where the same bytes may come
/// again.
#[tokio::test]
async fn refusals_of_the_pipeline_are_told() {
    let table: [(Refusal, Code, bool); 9] = [
        (malformed, Code::InvalidArgument, false),
        (no_disk, Code::Unavailable, true),
        (too_deep, Code::InvalidArgument, false),
        (|| Err(Refused::Rejected), Code::InvalidArgument, false),
        (
            || {
                Err(Refused::Invalid(Invalid::OverLimit {
                    what: "items",
                    limit: 1,
                }))
            },
            Code::ResourceExhausted,
            false,
        ),
        (
            || {
                Err(Refused::Full {
                    retry_after: Duration::from_secs(2),
                })
            },
            Code::Unavailable,
            true,
        ),
        (|| Err(Refused::Draining), Code::Unavailable, true),
        (
            || {
                Err(Refused::Fault {
                    stage: "redact".to_owned(),
                    retry_after: Duration::from_secs(2),
                })
            },
            Code::Unavailable,
            true,
        ),
        (
            || {
                Err(Refused::Quarantined {
                    stage: "redact".to_owned(),
                    attempts: 3,
                })
            },
            Code::InvalidArgument,
            false,
        ),
    ];
    let sink = Sink::open();
    let collector = Collector::start(&sink).await;
    let mut client = Client::connect(collector.addr).await;
    for (refusal, code, retry) in table {
        sink.answer(refusal);
        let status = client.call(sent(0, None, b"x")).await.status;
        let status = status.expect("a grpc-status");
        assert_eq!(status.code(), code);
        let hint = status.get_details_retry_info();
        assert_eq!(hint.is_some(), retry, "{status:?}");
        let message = status.message();
        assert!((1..200).contains(&message.len()), "{message}");
        assert!(!message.chars().any(char::is_control), "{message}");
    }
    assert_eq!(sink.taken(), []);
}

/// A signal without a pipeline is UNIMPLEMENTED, as in the Collector, and the others are not; once a
/// reload gives it one, it is taken, on the same connection.
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

/// What is not gRPC is told so in terms of HTTP.
#[tokio::test]
async fn what_is_not_grpc_is_told_so() {
    let collector = Collector::start(&Sink::open()).await;
    let mut client = Client::connect(collector.addr).await;
    let json = Request::post(format!("http://collector{TRACES}"))
        .header("content-type", "application/json")
        .body(full("{}"))
        .expect("a request");
    assert_eq!(client.call(json).await.http, 415);
    let get = Request::get("http://collector/")
        .body(full(""))
        .expect("a request");
    assert_eq!(client.call(get).await.http, 405);
}
