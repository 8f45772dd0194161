//! Both transports in one receiver, and clients that take the wrong port.

use spandrel_otlp::exporter::{ExporterConfig, GrpcExporter};
use spandrel_otlp::receiver::{GrpcConfig, HttpConfig, ReceiverConfig, Transport};
use spandrel_pipeline::exporter::{Exporter, Outcome};
use spandrel_wire::Signal;
use tokio::io::AsyncReadExt;
use tokio::task::JoinSet;
use tonic::Code;

use super::wire::{Client, PROTOBUF};
use super::{http, start, start_both};
use crate::authority::Authority;
use crate::collector::{Collector, Sink, config};
use crate::raw::{self, TRACES, framed, full, request};

/// A call of gRPC to the port of HTTP is told so in terms of gRPC, for good, and which port takes it.
#[tokio::test]
async fn grpc_to_the_http_port_is_told() {
    let collector = start_both(&Sink::open()).await;
    let port = collector.port(Transport::Http);
    let mut client = raw::Client::connect(port.address).await;
    let answer = client
        .call(request(TRACES, None, full(framed(0, b"x"))))
        .await;
    assert_eq!((answer.http, answer.code()), (200, Code::Unimplemented));
    let words = answer.status.expect("seen above");
    let grpc = collector.port(Transport::Grpc).address.port();
    assert!(
        words.message().starts_with("this port speaks OTLP/HTTP: ")
            && words.message().contains(&format!("port {grpc}, where")),
        "{words}"
    );
    let counted: Vec<_> = port.stats.wrong_protocols().collect();
    assert_eq!(counted, [("gRPC", 1)]);
    let config = ExporterConfig::new(format!("http://{}", port.address));
    let exporter = GrpcExporter::new(&config).expect("settings");
    let outcome = exporter.export(Signal::Traces, "x".into()).await;
    assert!(matches!(outcome, Outcome::Permanent { .. }), "{outcome:?}");
}

/// A client of HTTP that takes the port of gRPC is told the number of the other port, in HTTP/1.1 and
/// in HTTP/2.
#[tokio::test]
async fn http_to_the_grpc_port_is_told() {
    let collector = start_both(&Sink::open()).await;
    let number = collector.port(Transport::Http).address.port();
    let words = format!("port {number}, where this receiver speaks OTLP/HTTP");
    let mut client = Client::connect(collector.addr).await;
    let answer = client.post("/v1/traces", b"x").await;
    assert_eq!(answer.code, 400);
    assert!(answer.text().contains(&words), "{}", answer.text());
    let mut client = raw::Client::connect(collector.addr).await;
    let post = ::http::Request::post("http://collector/v1/traces")
        .header("content-type", PROTOBUF)
        .body(full("x"))
        .expect("a request");
    let answer = client.call(post).await;
    assert_eq!(answer.http, 415);
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    assert!(text.contains(&words), "{text}");
}

/// TLS to a plain port and plain text to a port with TLS are told, on the port of HTTP as on that of
/// gRPC.
#[tokio::test]
async fn tls_is_told() {
    let collector = start(http(), &Sink::open()).await;
    let mut client = Client::connect(collector.addr).await;
    client.send(&[0x16, 3, 1, 0, 1, 0]).await;
    let answer = client.answer().await.expect("an answer");
    assert_eq!(answer.code, 400);
    assert!(
        answer.text().contains("OTLP/HTTP without TLS"),
        "{}",
        answer.text()
    );

    let authority = Authority::new();
    let tls = authority.server("localhost", None).tls;
    let collector = start(HttpConfig { tls, ..http() }, &Sink::open()).await;
    let mut client = Client::connect(collector.addr).await;
    let answer = client.post("/v1/traces", b"x").await;
    assert_eq!(answer.code, 400);
    assert!(
        answer.text().contains("write https://"),
        "{}",
        answer.text()
    );
    let mut stream = Client::connect(collector.addr).await.stream;
    let mut preface = raw_preface();
    preface.extend([0; 9]);
    tokio::io::AsyncWriteExt::write_all(&mut stream, &preface)
        .await
        .expect("sent");
    let mut told = Vec::new();
    stream.read_to_end(&mut told).await.expect("closed");
    let told = String::from_utf8_lossy(&told).into_owned();
    assert!(told.contains("OTLP/HTTP over TLS"), "{told}");
    let counted: Vec<_> = collector.stats.wrong_protocols().collect();
    assert_eq!(
        counted,
        [("HTTP/1.1 without TLS", 1), ("HTTP/2 without TLS", 1)]
    );
}

fn raw_preface() -> Vec<u8> {
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec()
}

/// Both ports share the memory for requests: what came over gRPC and waits in the pipeline is missing
/// on HTTP, and a request there is told to come back in whole seconds.
#[tokio::test]
async fn the_memory_is_shared() {
    let sink = Sink::gated();
    // The budget is what one longest request in JSON can take: eight times its size.
    let both = ReceiverConfig {
        grpc: Some(GrpcConfig {
            max_recv_msg_size: 1 << 20,
            max_in_flight_bytes: 1 << 20,
            ..config()
        }),
        http: Some(HttpConfig {
            max_request_body_size: 1 << 20,
            max_in_flight_bytes: 1 << 20,
            ..http()
        }),
        ..ReceiverConfig::default()
    };
    let collector = Collector::start_with(both, &sink).await;
    let message = vec![0; 900 << 10];
    let mut held = JoinSet::new();
    for _ in 0..8 {
        let mut client = raw::Client::connect(collector.addr).await;
        let to_hold = request(TRACES, None, full(framed(0, &message)));
        held.spawn(async move { client.call(to_hold).await.code() });
    }
    sink.offered(8).await;
    let http = collector.port(Transport::Http).address;
    let mut client = Client::connect(http).await;
    let answer = client.post("/v1/traces", &message).await;
    assert_eq!(
        (answer.code, answer.header("content-type")),
        (503, Some(PROTOBUF))
    );
    let wait: u64 = answer
        .header("retry-after")
        .expect("a time")
        .parse()
        .expect("seconds");
    assert!((1..=2).contains(&wait), "{wait}");
    sink.release(9);
    while let Some(code) = held.join_next().await {
        assert_eq!(code.expect("no panic"), Code::Ok);
    }
    assert_eq!(client.post("/v1/traces", &message).await.code, 200);
    assert_eq!(sink.taken().len(), 9);
}

/// A receiver takes over the port that stays and binds the one that is new; its counters go on. The port
/// without a successor is given back.
#[tokio::test]
async fn ports_are_taken_over_one_by_one() {
    let sink = Sink::open();
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let endpoint = free.local_addr().expect("bound").to_string();
    drop(free);
    let only_http = || HttpConfig::new(endpoint.clone());
    let collector = start(only_http(), &sink).await;
    let mut client = Client::connect(collector.addr).await;
    assert_eq!(client.post("/v1/traces", b"x").await.code, 200);
    let both = ReceiverConfig {
        grpc: Some(config()),
        http: Some(only_http()),
        ..ReceiverConfig::default()
    };
    let next = collector.hand_over(both, &sink).await;
    assert_eq!(next.port(Transport::Http).address, collector.addr);
    // The old connection ends after its next request, which is still served.
    let last = client.post("/v1/traces", b"x").await;
    assert_eq!((last.code, last.header("connection")), (200, Some("close")));
    assert_eq!(collector.closed().await.connections_cut, 0);
    let mut client = raw::Client::connect(next.addr).await;
    let call = || request(TRACES, None, full(framed(0, b"x")));
    assert_eq!(client.call(call()).await.code(), Code::Ok);
    let http = next.port(Transport::Http);
    let mut client = Client::connect(http.address).await;
    assert_eq!(client.post("/v1/traces", b"x").await.code, 200);
    assert_eq!(http.stats.requests(0), 3);
    assert_eq!(sink.taken().len(), 4);
    let grpc_only = next.hand_over(config(), &sink).await;
    drop(client);
    assert_eq!(next.closed().await.connections_cut, 0);
    std::net::TcpListener::bind(&endpoint).expect("the port is free");
    drop(grpc_only);
}
