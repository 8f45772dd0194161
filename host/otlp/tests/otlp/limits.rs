//! Memory and connections are bounded, and a good client lives beside bad ones.

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use spandrel_otlp::compression::Compression;
use spandrel_otlp::receiver::{GrpcConfig, Keepalive};
use spandrel_pipeline::exporter::{Exporter, Outcome};
use spandrel_wire::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tonic::Code;
use tonic_types::StatusExt;

use crate::collector::{Collector, Sink, config};
use crate::raw::{Body, Client, TRACES, framed, full, request};
use crate::round_trip::exporter;

/// A body that begins with these bytes and never ends.
fn endless(start: Vec<u8>) -> Body {
    let start = Ok::<_, std::convert::Infallible>(Frame::data(Bytes::from(start)));
    let never = futures_util::stream::pending();
    let frames = futures_util::stream::iter([start]).chain(never);
    BodyExt::boxed(StreamBody::new(frames))
}

/// Requests that the pipeline still has hold their memory. A request that finds none is told to
/// come back, and gets in once there is some.
#[tokio::test]
async fn bytes_in_flight_are_bounded() {
    let sink = Sink::gated();
    // The budget is what one longest request can take: three times its size and a decoder.
    let config = GrpcConfig {
        max_recv_msg_size: 1 << 20,
        max_in_flight_bytes: 1 << 20,
        ..config()
    };
    let collector = Collector::start_with(config, &sink).await;
    let message = framed(0, &vec![0; 900 << 10]);
    let send = || request(TRACES, None, full(message.clone()));

    let mut held = JoinSet::new();
    for _ in 0..3 {
        let mut client = Client::connect(collector.addr).await;
        let to_hold = send();
        held.spawn(async move { client.call(to_hold).await.code() });
    }
    sink.offered(3).await;

    let mut last = Client::connect(collector.addr).await;
    let refused = last.call(send()).await;
    assert_eq!(refused.code(), Code::Unavailable);
    let status = refused.status.expect("seen above");
    let info = status.get_details_retry_info().expect("a RetryInfo");
    let wait = info.retry_delay.expect("a time");
    assert!(wait >= Duration::from_secs(1) && wait < Duration::from_secs(2));

    sink.release(4);
    while let Some(answer) = held.join_next().await {
        assert_eq!(answer.unwrap(), Code::Ok);
    }
    assert_eq!(last.call(send()).await.code(), Code::Ok);
}

/// A request that announces a lot and sends nothing takes nothing from others.
#[tokio::test]
async fn a_prefix_alone_holds_no_memory() {
    let sink = Sink::open();
    let collector = Collector::start(&sink).await;
    let mut bad = Client::connect(collector.addr).await;
    let length = u32::try_from(64 << 20).unwrap().to_be_bytes();
    let mut waiting = JoinSet::new();
    for _ in 0..90 {
        let prefix = [&[0][..], &length].concat();
        bad.send.ready().await.expect("open");
        waiting.spawn(
            bad.send
                .send_request(request(TRACES, None, endless(prefix))),
        );
    }
    let mut good = Client::connect(collector.addr).await;
    let large = framed(0, &vec![0; 32 << 20]);
    let answer = good.call(request(TRACES, None, full(large))).await;
    assert_eq!(answer.code(), Code::Ok);
    assert_eq!(waiting.len(), 90);
}

/// A client of another protocol is told what this port speaks, disconnected, and counted.
#[tokio::test]
async fn other_protocols_are_turned_away() {
    let collector = Collector::start(&Sink::open()).await;
    let mut stream = TcpStream::connect(collector.addr).await.expect("connects");
    let http1 = b"POST /v1/traces HTTP/1.1\r\nhost: collector\r\n\r\n";
    stream.write_all(http1).await.expect("sent");
    let mut answer = String::new();
    let read = stream.read_to_string(&mut answer).await;
    read.expect("a whole answer");
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(answer.contains("this port speaks OTLP/gRPC"), "{answer}");
    assert_eq!(collector.stats.failed_connections(), 1);
    assert_eq!(collector.stats.connections(), 1);
    let counted: Vec<_> = collector.stats.wrong_protocols().collect();
    assert_eq!(counted, [("HTTP/1.1", 1)]);
}

/// Connections that reach their age are replaced without a single failed request.
#[tokio::test]
async fn old_connections_end_without_failing_a_client() {
    let sink = Sink::open();
    let config = GrpcConfig {
        keepalive: Keepalive {
            max_connection_age: Some(Duration::from_millis(30)),
            max_connection_age_grace: Some(Duration::from_secs(60)),
            ..Keepalive::default()
        },
        ..config()
    };
    let collector = Collector::start_with(config, &sink).await;
    let exporter = exporter(&collector.url(), Compression::None);
    let mut sent = 0;
    while collector.stats.connections() < 6 {
        let outcome = exporter
            .export(Signal::Traces, Bytes::from_static(b"x"))
            .await;
        assert!(matches!(outcome, Outcome::Sent), "{outcome:?}");
        sent += 1;
    }
    assert_eq!(sink.taken().len(), sent);
}

/// A connection that has reached its age and whose requests do not end is cut after the grace.
#[tokio::test]
async fn old_connections_have_a_grace() {
    let config = GrpcConfig {
        keepalive: Keepalive {
            max_connection_age: Some(Duration::from_millis(20)),
            max_connection_age_grace: Some(Duration::from_millis(20)),
            ..Keepalive::default()
        },
        ..config()
    };
    let collector = Collector::start_with(config, &Sink::gated()).await;
    let mut client = Client::connect(collector.addr).await;
    client.send.ready().await.expect("open");
    let held = request(TRACES, None, full(framed(0, b"x")));
    let answer = client.send.send_request(held).await;
    assert!(answer.is_err(), "{answer:?}");
    client.ended().await;
}

/// A connection without requests ends after the idle time.
#[tokio::test]
async fn idle_connections_end() {
    let config = GrpcConfig {
        keepalive: Keepalive {
            max_connection_idle: Some(Duration::from_millis(20)),
            ..Keepalive::default()
        },
        ..config()
    };
    let sink = Sink::open();
    let collector = Collector::start_with(config, &sink).await;
    let client = Client::connect(collector.addr).await;
    client.ended().await;
    assert_eq!(collector.stats.failed_connections(), 0);
}
