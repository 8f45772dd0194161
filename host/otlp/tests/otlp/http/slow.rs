//! Clients that are slow, that stop, that flood, or that do not read.

use std::time::Duration;

use spandrel_otlp::receiver::HttpConfig;
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, sleep, timeout};

use super::wire::{Client, PROTOBUF, chunked, head, post};
use super::{http, start};
use crate::collector::Sink;

const TYPE: (&str, &str) = ("content-type", PROTOBUF);
const SOON: Duration = Duration::from_millis(200);

/// Says of what happens soon that it happened, on a busy machine too.
const PATIENCE: Duration = Duration::from_secs(20);

fn impatient() -> HttpConfig {
    HttpConfig {
        read_header_timeout: SOON,
        read_timeout: SOON,
        write_timeout: SOON,
        ..http()
    }
}

/// A head that drips is given up after its time, on a new connection and behind a request; a connection
/// on which nothing has begun stays.
#[tokio::test]
async fn heads_have_a_time() {
    let collector = start(impatient(), &Sink::open()).await;
    for requests in [0, 1] {
        let mut client = Client::connect(collector.addr).await;
        for _ in 0..requests {
            assert_eq!(client.post("/v1/traces", b"x").await.code, 200);
            sleep(SOON * 2).await;
        }
        let begun = Instant::now();
        for byte in "POST /v1/traces HTTP/1.1\r\na: bcdefghijklmnopqrstuvwxyz".bytes() {
            client.send(&[byte]).await;
            sleep(SOON / 10).await;
        }
        let answer = timeout(PATIENCE, client.answer()).await.expect("ended");
        assert!(answer.is_none_or(|answer| answer.code == 408), "{requests}");
        assert!(begun.elapsed() >= SOON);
    }
}

/// A body that stops is given up after its time: its sender is told to come again, and the connection
/// ends, because the rest of the body may still come.
#[tokio::test]
async fn bodies_have_a_time() {
    let collector = start(impatient(), &Sink::open()).await;
    let mut client = Client::connect(collector.addr).await;
    let headers = [TYPE, ("content-length", "100")];
    client.send(&head("POST", "/v1/traces", &headers)).await;
    client.send(b"x").await;
    let answer = timeout(PATIENCE, client.answer()).await.expect("in time");
    let answer = answer.expect("an answer");
    assert_eq!(
        (answer.code, answer.header("connection")),
        (503, Some("close"))
    );
    let ended = timeout(PATIENCE, client.answer()).await.expect("in time");
    assert_eq!(ended, None);
    assert_eq!(collector.stats.requests(4), 1);
}

/// A client that sends far more than it may hears that, although it reads only when all is sent.
#[tokio::test]
async fn too_much_is_told_to_who_is_still_sending() {
    let config = HttpConfig {
        max_request_body_size: 1 << 20,
        ..http()
    };
    let collector = start(config, &Sink::open()).await;
    for (lines, body) in [
        ("content-length", vec![0; 6 << 20]),
        ("transfer-encoding", chunked(&vec![0; 6 << 20], 1 << 20)),
    ] {
        let length = body.len().to_string();
        let value = if lines == "content-length" {
            length.as_str()
        } else {
            "chunked"
        };
        let mut client = Client::connect(collector.addr).await;
        client
            .send(&head("POST", "/v1/traces", &[TYPE, (lines, value)]))
            .await;
        let sent = timeout(PATIENCE, client.stream.write_all(&body)).await;
        drop(sent.expect("taken or refused in time"));
        let answer = timeout(PATIENCE, client.answer()).await.expect("in time");
        let answer = answer.expect("an answer, not a reset");
        assert_eq!(
            (answer.code, answer.header("connection")),
            (413, Some("close")),
            "{lines}"
        );
    }
}

/// A client that asks and asks and reads no answer is not answered any more, and is cut.
#[tokio::test]
async fn who_reads_nothing_is_cut() {
    let sink = Sink::open();
    let collector = start(impatient(), &sink).await;
    let mut client = Client::connect(collector.addr).await;
    let requests = post("/v1/traces", &[TYPE], b"x").repeat(1000);
    let sending = async {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            if client.stream.get_mut().write_all(&requests).await.is_err() {
                return true;
            }
        }
        false
    };
    assert!(
        timeout(PATIENCE * 2, sending).await.expect("cut"),
        "never cut"
    );
    while collector.stats.open_connections() > 0 {
        sleep(SOON / 10).await;
    }
}

/// A body in chunks of one byte is read like any other.
#[tokio::test]
async fn tiny_chunks_are_read() {
    let sink = Sink::open();
    let collector = start(http(), &sink).await;
    let mut client = Client::connect(collector.addr).await;
    let body = vec![7; 100_000];
    let headers = [TYPE, ("transfer-encoding", "chunked")];
    let request = [head("POST", "/v1/traces", &headers), chunked(&body, 1)].concat();
    assert_eq!(client.call(&request).await.code, 200);
    let [(_, taken)] = &sink.taken()[..] else {
        panic!("{} requests", sink.taken().len());
    };
    assert_eq!(taken[..], body);
}
