//! A receiver with new settings takes over from the running one, on the same socket.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use spandrel_otlp::exporter::{ExporterConfig, GrpcExporter};
use spandrel_otlp::receiver::{Closed, GrpcConfig, Receiver, ServerTls};
use spandrel_pipeline::exporter::{Exporter, Outcome};
use spandrel_wire::Signal;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tonic::Code;

use crate::collector::{Collector, Sink, config};
use crate::raw::{Client, TRACES, framed, full, request};

/// The number of hand-overs, each of them under new calls of every client.
const HAND_OVERS: usize = 20;
/// The number of clients that make a connection for each call.
const CLIENTS: usize = 4;

/// Under a stream of new connections and calls, and of calls on a connection that lasts, a receiver
/// is handed over again and again: no connection is refused, no call fails, none is lost, and each
/// old receiver ends by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_refused() {
    let sink = Sink::open();
    let mut collector = Collector::start(&sink).await;
    let addr = collector.addr;
    let stop = watch::Sender::new(false);
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let stop = stop.subscribe();
        clients.spawn(async move {
            let mut calls = 0;
            while !*stop.borrow() {
                let mut client = Client::connect(addr).await;
                let sent = request(TRACES, None, full(framed(0, b"x")));
                assert_eq!(client.call(sent).await.code(), Code::Ok, "call {calls}");
                calls += 1;
            }
            calls
        });
    }
    let lasting = GrpcExporter::new(&ExporterConfig::new(collector.url())).expect("an endpoint");
    let lasting = Arc::new(lasting);
    let (exporter, stopped) = (Arc::clone(&lasting), stop.subscribe());
    clients.spawn(async move {
        let mut calls = 0;
        while !*stopped.borrow() {
            let outcome = exporter.export(Signal::Traces, "x".into()).await;
            assert!(
                matches!(outcome, Outcome::Sent),
                "call {calls}: {outcome:?}"
            );
            calls += 1;
        }
        calls
    });

    let mut old = JoinSet::new();
    for n in 0..HAND_OVERS {
        let changed = GrpcConfig {
            max_concurrent_streams: 50 + u32::try_from(n).expect("few"),
            ..config()
        };
        let next = collector.hand_over(changed, &sink).await;
        assert_eq!(next.addr, addr);
        let before = std::mem::replace(&mut collector, next);
        old.spawn(before.closed());
        tokio::select! {
            () = sink.offered(sink.offers() + 5 * CLIENTS) => {}
            Some(ended) = clients.join_next() => panic!("a client gave up: {ended:?}"),
        }
    }
    stop.send_replace(true);
    let mut calls = 0;
    while let Some(made) = clients.join_next().await {
        calls += made.expect("every call is answered OK");
    }
    assert_eq!(sink.taken().len(), calls);
    while let Some(closed) = old.join_next().await {
        assert_eq!(closed.expect("no panic"), Closed { connections_cut: 0 });
    }
    let counted = usize::try_from(collector.stats.requests(Code::Ok.into()));
    assert_eq!(counted, Ok(calls), "its counters go on");
}

/// A request in flight is answered by the receiver that it came to, even after another has taken
/// over.
#[tokio::test]
async fn requests_in_flight_stay_where_they_are() {
    let (before, after) = (Sink::gated(), Sink::open());
    let collector = Collector::start(&before).await;
    let mut client = Client::connect(collector.addr).await;
    let sent = || request(TRACES, None, full(framed(0, b"x")));
    let (next, answer) = {
        let mut call = std::pin::pin!(client.call(sent()));
        let offered = async {
            before.offered(1).await;
            collector.hand_over(config(), &after).await
        };
        let next = tokio::select! {
            next = offered => next,
            answer = &mut call => panic!("answered too early: {answer:?}"),
        };
        before.release(1);
        (next, call.await)
    };
    assert_eq!(answer.code(), Code::Ok);
    client.ended().await;
    assert_eq!(collector.closed().await, Closed { connections_cut: 0 });
    let mut client = Client::connect(next.addr).await;
    assert_eq!(client.call(sent()).await.code(), Code::Ok);
    assert_eq!((before.taken().len(), after.taken().len()), (1, 1));
}

/// A client that has only just connected is told to go away after its first request, not before.
#[tokio::test]
async fn a_new_connection_is_served_first() {
    let (before, after) = (Sink::open(), Sink::open());
    let collector = Collector::start(&before).await;
    let mut client = Client::connect(collector.addr).await;
    while collector.stats.open_connections() == 0 {
        tokio::task::yield_now().await;
    }
    let _next = collector.hand_over(config(), &after).await;
    let sent = request(TRACES, None, full(framed(0, b"x")));
    assert_eq!(client.call(sent).await.code(), Code::Ok);
    client.ended().await;
    assert_eq!(before.taken().len(), 1);
}

/// Settings that cannot be used leave the running receiver alone.
#[tokio::test]
async fn bad_settings_change_nothing() {
    let sink = Sink::open();
    let collector = Collector::start(&sink).await;
    let missing = ServerTls::new("missing.pem", "missing.pem");
    let bad = GrpcConfig {
        tls: Some(missing),
        ..config()
    };
    let error = Receiver::bind_beside(bad.into(), &collector.sockets).await;
    error.expect_err("no certificate");
    let mut client = Client::connect(collector.addr).await;
    let sent = request(TRACES, None, full(framed(0, b"x")));
    assert_eq!(client.call(sent).await.code(), Code::Ok);
}

/// The handle on the socket does not keep the port. The port is free when its last receiver has
/// stopped, and then there is nothing to take over, but a port to bind.
#[tokio::test]
async fn the_last_receiver_gives_the_port_back() {
    let sink = Sink::open();
    let collector = Collector::start(&sink).await;
    let addr = collector.addr;
    let sockets = collector.sockets.clone();
    let next = collector.hand_over(config(), &sink).await;
    next.stop();
    timeout(Duration::from_secs(10), async {
        assert_eq!(collector.closed().await, Closed { connections_cut: 0 });
        assert_eq!(next.closed().await, Closed { connections_cut: 0 });
    })
    .await
    .expect("both stop");
    drop(TcpListener::bind(addr).expect("the port is free"));
    let fresh = Receiver::bind_beside(config().into(), &sockets).await;
    assert!(fresh.is_ok(), "{fresh:?}");
}

/// Another endpoint gets another socket.
#[tokio::test]
async fn another_endpoint_is_bound_anew() {
    let collector = Collector::start(&Sink::open()).await;
    let other = GrpcConfig::new("localhost:0");
    let receiver = Receiver::bind_beside(other.into(), &collector.sockets).await;
    assert_ne!(receiver.expect("free").ports()[0].address, collector.addr);
}
