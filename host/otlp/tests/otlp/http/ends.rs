//! The ends of connections: idle, by choice of the operator, and in the drain.

use std::time::Duration;

use spandrel_otlp::receiver::{Closed, HttpConfig};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::wire::{Client, PROTOBUF, head};
use super::{http, start};
use crate::collector::Sink;

const PATIENCE: Duration = Duration::from_secs(20);

/// A connection without requests ends after its time; one with a request that waits does not.
#[tokio::test]
async fn idle_connections_end() {
    let sink = Sink::gated();
    let config = HttpConfig {
        idle_timeout: Duration::from_millis(100),
        ..http()
    };
    let collector = start(config, &sink).await;
    let mut client = Client::connect(collector.addr).await;
    let answer = {
        let mut call = std::pin::pin!(client.post("/v1/traces", b"x"));
        tokio::select! {
            () = sleep(Duration::from_millis(500)) => {}
            answer = &mut call => panic!("answered too early: {answer:?}"),
        }
        sink.release(1);
        call.await
    };
    assert_eq!(answer.code, 200);
    let ended = timeout(PATIENCE, client.answer()).await;
    assert_eq!(ended.expect("ended"), None);
}

/// If keep-alives are off, each answer says that its connection ends, and it does.
#[tokio::test]
async fn connections_may_be_for_one_request() {
    let config = HttpConfig {
        keep_alives_enabled: false,
        ..http()
    };
    let collector = start(config, &Sink::open()).await;
    let mut client = Client::connect(collector.addr).await;
    let answer = client.post("/v1/traces", b"x").await;
    assert_eq!(
        (answer.code, answer.header("connection")),
        (200, Some("close"))
    );
    assert_eq!(client.answer().await, None);
}

/// In the drain, a request that was admitted is answered, and its connection ends with the answer;
/// idle connections end at once; a body that stops is refused with a time to come again.
#[tokio::test]
async fn a_drain_cuts_nothing_that_was_admitted() {
    let sink = Sink::gated();
    let collector = start(http(), &sink).await;
    let mut admitted = JoinSet::new();
    for _ in 0..5 {
        let mut client = Client::connect(collector.addr).await;
        admitted.spawn(async move {
            let answer = client.post("/v1/traces", b"x").await;
            (answer, client.answer().await)
        });
    }
    sink.offered(5).await;
    let mut idle = Client::connect(collector.addr).await;
    assert_eq!(idle.post("/nobody", b"x").await.code, 404);
    let mut stopped = Client::connect(collector.addr).await;
    let headers = [("content-type", PROTOBUF), ("content-length", "9")];
    stopped.send(&head("POST", "/v1/traces", &headers)).await;
    while collector.stats.open_connections() < 7 {
        tokio::task::yield_now().await;
    }
    // Its head is read once the request has begun.
    sleep(Duration::from_millis(100)).await;
    collector.stop();
    assert_eq!(timeout(PATIENCE, idle.answer()).await.expect("ended"), None);
    sink.release(5);
    while let Some(answered) = admitted.join_next().await {
        let (answer, then) = answered.expect("no panic");
        assert_eq!(
            (answer.code, answer.header("connection")),
            (200, Some("close"))
        );
        assert_eq!(then, None);
    }
    let answer = stopped.answer().await.expect("an answer");
    assert_eq!(
        (answer.code, answer.header("connection")),
        (503, Some("close"))
    );
    assert!(answer.header("retry-after").is_some());
    assert_eq!(collector.closed().await, Closed { connections_cut: 0 });
    assert_eq!(sink.taken().len(), 5);
}
