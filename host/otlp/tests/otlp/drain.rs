//! A receiver that is told to stop, as its clients see it.

use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use spandrel_otlp::receiver::{BindError, Closed, GrpcConfig, Receiver, ReceiverConfig};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tonic::transport::Endpoint;
use tonic::{Code, Request};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use crate::collector::{Collector, Sink, config};
use crate::round_trip::spans;

/// When a receiver stops, requests in flight are answered OK, clients are told to go away, nobody
/// gets in any more, and then serving ends by itself.
#[tokio::test]
async fn requests_in_flight_are_answered() {
    let sink = Sink::gated();
    let collector = Collector::start(&sink).await;
    let addr = collector.addr;
    let client = TraceServiceClient::connect(collector.url())
        .await
        .expect("connects");
    let mut in_flight = JoinSet::new();
    for _ in 0..10 {
        let mut client = client.clone();
        in_flight.spawn(async move { client.export(spans(2)).await });
    }
    sink.offered(10).await;

    collector.stop();
    // The port is given back while requests are still in flight.
    while let Ok(stream) = TcpStream::connect(addr).await {
        drop(stream);
        tokio::task::yield_now().await;
    }
    let mut late = client.clone();
    let refused = late.export(spans(1)).await.expect_err("stopping");
    // The code is from our answer or from the client's own stack, before or after it saw that we
    // are going away: OTLP retries both.
    let again = matches!(refused.code(), Code::Unavailable | Code::Cancelled);
    assert!(again, "{refused:?}");

    sink.release(10);
    while let Some(answer) = in_flight.join_next().await {
        answer.expect("no panic").expect("answered OK");
    }
    drop((client, late));
    assert_eq!(collector.closed().await, Closed { connections_cut: 0 });
    assert_eq!(sink.taken().len(), 10);
}

/// A connection that does not end within the grace is cut, and reported.
#[tokio::test]
async fn the_grace_is_a_limit() {
    let sink = Sink::gated();
    let config = ReceiverConfig {
        drain_grace: Duration::from_millis(50),
        ..config().into()
    };
    let collector = Collector::start_with(config, &sink).await;
    let mut client = TraceServiceClient::connect(collector.url())
        .await
        .expect("connects");
    let mut in_flight = JoinSet::new();
    in_flight.spawn(async move { client.export(spans(2)).await });
    sink.offered(1).await;
    collector.stop();
    assert_eq!(collector.closed().await, Closed { connections_cut: 1 });
    let answer = in_flight.join_next().await.expect("one").expect("no panic");
    answer.expect_err("cut");
    assert_eq!(sink.taken(), []);
}

/// Idle connections do not hold up the end.
#[tokio::test]
async fn idle_clients_do_not_hold_up_the_end() {
    let collector = Collector::start(&Sink::open()).await;
    let mut client = TraceServiceClient::connect(collector.url())
        .await
        .expect("connects");
    client.export(spans(1)).await.expect("accepted");
    collector.stop();
    assert_eq!(collector.closed().await, Closed { connections_cut: 0 });
}

/// The health service says SERVING, for the server and for each service, then NOT_SERVING to
/// clients that watch. A watch does not hold up the end.
#[tokio::test]
async fn health_tells_of_the_drain() {
    let collector = Collector::start(&Sink::open()).await;
    let channel = Endpoint::new(collector.url())
        .expect("a url")
        .connect()
        .await
        .expect("connects");
    let mut client = HealthClient::new(channel);
    let of = |service: &str| {
        Request::new(HealthCheckRequest {
            service: service.to_owned(),
        })
    };
    let says = |response: HealthCheckResponse| response.status();
    for service in [
        "",
        "opentelemetry.proto.collector.trace.v1.TraceService",
        "opentelemetry.proto.collector.metrics.v1.MetricsService",
        "opentelemetry.proto.collector.logs.v1.LogsService",
    ] {
        let answer = client.check(of(service)).await.expect("known");
        assert_eq!(
            says(answer.into_inner()),
            ServingStatus::Serving,
            "{service}"
        );
    }
    let unknown = client.check(of("other")).await.expect_err("unknown");
    assert_eq!(unknown.code(), Code::NotFound);

    let mut watch = client.watch(of("")).await.expect("watches").into_inner();
    let first = watch.message().await.expect("open").expect("a status");
    assert_eq!(says(first), ServingStatus::Serving);
    collector.stop();
    let second = watch.message().await.expect("open").expect("a status");
    assert_eq!(says(second), ServingStatus::NotServing);
    let end = watch.message().await.expect_err("ended");
    assert_eq!(end.code(), Code::Unavailable);
    assert_eq!(collector.closed().await, Closed { connections_cut: 0 });
}

/// A port in use is an error that names it and says what to do; so is an invalid address.
#[tokio::test]
async fn a_port_in_use_is_told() {
    let collector = Collector::start(&Sink::open()).await;
    let endpoint = collector.addr.to_string();
    let error = Receiver::bind(GrpcConfig::new(endpoint.clone()).into())
        .await
        .expect_err("in use");
    assert!(matches!(error, BindError::InUse { .. }));
    let text = error.to_string();
    assert!(
        text.contains(&endpoint) && text.contains("in use"),
        "{text}"
    );

    let error = Receiver::bind(GrpcConfig::new("127.0.0.1:notaport").into())
        .await
        .expect_err("no port");
    assert!(error.to_string().contains("127.0.0.1:notaport"), "{error}");
}

/// A name is one address, IPv4 first: where `localhost` has two, a second program does not get the
/// other one, but an error with the address that is taken.
#[tokio::test]
async fn a_name_is_bound_once() {
    let first = Receiver::bind(GrpcConfig::new("localhost:0").into()).await;
    let held = first.expect("free");
    let first = held.ports()[0].address;
    assert!(first.is_ipv4(), "{first}");
    let endpoint = format!("localhost:{}", first.port());
    let error = Receiver::bind(GrpcConfig::new(endpoint).into()).await;
    let Err(BindError::InUse { source, .. }) = error else {
        panic!("{error:?}");
    };
    assert!(source.to_string().contains(&first.to_string()), "{source}");
    drop(held);
}

/// A client may watch the health of the receiver for as long as it likes, and exports beside it go
/// on: an unfinished answer does not count as an answer that nobody takes.
#[tokio::test]
async fn a_watch_lasts() {
    let collector = Collector::start(&Sink::open()).await;
    let channel = Endpoint::new(collector.url())
        .expect("a url")
        .connect()
        .await
        .expect("connects");
    let service = String::new();
    let watch = HealthClient::new(channel.clone())
        .watch(HealthCheckRequest { service })
        .await;
    let mut watch = watch.expect("watches").into_inner();
    let said = watch.message().await.expect("whole").expect("the first");
    assert_eq!(said.status(), ServingStatus::Serving);
    // Nothing is on its way, so only the clocks go on.
    tokio::time::pause();
    tokio::time::sleep(Duration::from_secs(600)).await;
    tokio::time::resume();
    let mut client = TraceServiceClient::new(channel);
    client.export(spans(2)).await.expect("the same connection");
    collector.stop();
    let said = watch.message().await.expect("whole").expect("the second");
    assert_eq!(said.status(), ServingStatus::NotServing);
}
