//! Requests in shapes by which proxies and servers are made to disagree about where one ends. Each is
//! refused, or read in the one way that leaves nothing behind it.

use super::wire::{Client, PROTOBUF, head, post};
use super::{http, start};
use crate::collector::Sink;

/// A request that must never be seen: it stands where a body might end.
const SMUGGLED: &str = "POST /v1/logs HTTP/1.1\r\nhost: a\r\ncontent-type: application/x-protobuf\r\n\
    content-length: 1\r\n\r\nx";

/// Returns a request with these lines in its head, and this behind it.
fn shaped(lines: &str, body: &str) -> Vec<u8> {
    format!(
        "POST /v1/traces HTTP/1.1\r\nhost: a\r\ncontent-type: {PROTOBUF}\r\n{lines}\r\n\r\n{body}{SMUGGLED}"
    )
    .into_bytes()
}

/// Shapes that are malformed are refused with 400, and their connection ends: what follows is not
/// looked at.
#[tokio::test]
async fn malformed_shapes_are_refused() {
    let sink = Sink::open();
    let collector = start(http(), &sink).await;
    for (lines, body) in [
        // Two lengths.
        ("content-length: 1\r\ncontent-length: 2", "xx"),
        ("content-length: 1, 2", "x"),
        // Lengths that are none.
        ("content-length: +1", "x"),
        ("content-length: -1", "x"),
        ("content-length: 0x1", "x"),
        ("content-length: 1 1", "x"),
        ("content-length: 18446744073709551616", "x"),
        // Codings that do not end in chunks.
        ("transfer-encoding: chunked, identity", "0\r\n\r\n"),
        ("transfer-encoding: xchunked", "0\r\n\r\n"),
        ("transfer-encoding: gzip", "0\r\n\r\n"),
        (
            "transfer-encoding: chunked\r\ntransfer-encoding: identity",
            "0\r\n\r\n",
        ),
        // Heads that are none.
        ("content-length : 1", "x"),
        ("a: b\r\n c", "x"),
        ("a: b\0c", "x"),
        ("a b: c", "x"),
        (": a", "x"),
        ("a: b\rc: d", "x"),
    ] {
        let mut client = Client::connect(collector.addr).await;
        let answer = client.call(&shaped(lines, body)).await;
        assert_eq!(answer.code, 400, "{lines:?}");
        assert_eq!(client.answer().await, None, "{lines:?}");
    }
    let old = format!(
        "POST /v1/traces HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n{SMUGGLED}"
    );
    let mut client = Client::connect(collector.addr).await;
    assert_eq!(client.call(old.as_bytes()).await.code, 400);
    assert_eq!(client.answer().await, None);
    assert_eq!(sink.taken(), []);
}

/// A request with a length and chunks is read by its chunks, as the standard has it, and its connection
/// ends with the answer: nothing behind it is a request.
#[tokio::test]
async fn chunks_win_and_end_the_connection() {
    let sink = Sink::open();
    let collector = start(http(), &sink).await;
    for lines in [
        "content-length: 6\r\ntransfer-encoding: chunked",
        "transfer-encoding: chunked\r\ncontent-length: 6",
        "content-length: 1\r\ncontent-length: 2\r\ntransfer-encoding: chunked",
    ] {
        let before = sink.taken().len();
        let mut client = Client::connect(collector.addr).await;
        client.send(&shaped(lines, "1\r\nx\r\n0\r\n\r\n")).await;
        let answer = client.answer().await.expect("an answer");
        if answer.code == 200 {
            assert_eq!(answer.header("connection"), Some("close"), "{lines:?}");
            assert_eq!(sink.taken().len(), before + 1, "{lines:?}");
        } else {
            assert_eq!(answer.code, 400, "{lines:?}");
            assert_eq!(sink.taken().len(), before, "{lines:?}");
        }
        assert_eq!(client.answer().await, None, "{lines:?}");
    }
}

/// Chunks that are malformed end the request and its connection, and nothing of it is offered.
#[tokio::test]
async fn malformed_chunks_are_refused() {
    let sink = Sink::open();
    let collector = start(http(), &sink).await;
    let extension = format!("1;{}\r\nx\r\n0\r\n\r\n", "a".repeat(64 << 10));
    let trailers = format!("1\r\nx\r\n0\r\n{}\r\n", "a: b\r\n".repeat(10_000));
    for body in [
        "1\r\nxx\r\n0\r\n\r\n",
        "-1\r\nx\r\n0\r\n\r\n",
        "+1\r\nx\r\n0\r\n\r\n",
        "0x1\r\nx\r\n0\r\n\r\n",
        "1\nx\n0\n\n",
        "ffffffffffffffffff\r\nx\r\n0\r\n\r\n",
        "1\r\nx0\r\n\r\n",
        &extension,
        &trailers,
    ] {
        let mut client = Client::connect(collector.addr).await;
        client
            .send(&shaped("transfer-encoding: chunked", body))
            .await;
        let start: String = body.chars().take(20).collect();
        let answer = client.answer().await.expect("an answer");
        assert_eq!(answer.code, 400, "{start:?}");
        assert_eq!(client.answer().await, None, "{start:?}");
    }
    assert_eq!(sink.taken(), []);
}

/// Shapes that hyper takes although they are odd, each read in one way: lines that end without a
/// carriage return, the same length twice, no host.
#[tokio::test]
async fn odd_shapes_have_one_reading() {
    let sink = Sink::open();
    let collector = start(http(), &sink).await;
    let kind = format!("content-type: {PROTOBUF}");
    for request in [
        format!("POST /v1/traces HTTP/1.1\nhost: a\n{kind}\ncontent-length: 1\n\nx"),
        format!(
            "POST /v1/traces HTTP/1.1\r\n{kind}\r\ncontent-length: 1\r\ncontent-length: 1\r\n\r\nx"
        ),
        format!("POST http://a/v1/traces HTTP/1.1\r\n{kind}\r\ncontent-length: 1\r\n\r\nx"),
        format!("\r\nPOST /v1/traces HTTP/1.1\r\n{kind}\r\ncontent-length: 1\r\n\r\nx"),
        format!(
            "POST /v1/traces HTTP/1.1\r\n{kind}\r\nTransfer-Encoding: Chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"
        ),
    ] {
        let before = sink.taken().len();
        let mut client = Client::connect(collector.addr).await;
        // The first request on a connection shows its protocol.
        assert_eq!(client.post("/v1/logs", b"x").await.code, 200);
        let answer = client.call(request.as_bytes()).await;
        assert_eq!(answer.code, 200, "{request:?}");
        assert_eq!(sink.taken().len(), before + 2, "{request:?}");
        assert_eq!(client.post("/v1/logs", b"x").await.code, 200);
    }
}

/// Requests that come in one piece are answered in their order, each once.
#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let sink = Sink::open();
    let collector = start(http(), &sink).await;
    let mut client = Client::connect(collector.addr).await;
    let kind = [("content-type", PROTOBUF)];
    let mut wire = Vec::new();
    for at in 0..100_u8 {
        wire.extend(post("/v1/traces", &kind, &[at]));
        wire.extend(head("GET", "/v1/traces", &kind));
    }
    client.send(&wire).await;
    for _ in 0..100 {
        assert_eq!(client.answer().await.expect("an answer").code, 200);
        assert_eq!(client.answer().await.expect("an answer").code, 405);
    }
    let taken = sink.taken();
    assert!(
        taken
            .iter()
            .enumerate()
            .all(|(at, (_, body))| usize::from(body[0]) == at)
    );
    assert_eq!(taken.len(), 100);
}

/// Heads are bounded in bytes and in number, also if they never end.
#[tokio::test]
async fn heads_are_bounded() {
    let sink = Sink::open();
    let collector = start(http(), &sink).await;
    let long = "a".repeat(17 << 10);
    let many: Vec<_> = (0..200).map(|at| format!("a{at}: b\r\n")).collect();
    let path = format!("/{long}");
    let mut endless = head("POST", "/v1/traces", &[("a", &long)]);
    endless.truncate(endless.len() - 4);
    endless.extend("b".repeat(1 << 20).bytes());
    let mut many = format!("{}\r\n", many.concat()).into_bytes();
    many.splice(0..0, b"GET / HTTP/1.1\r\n".iter().copied());
    for request in [
        head("GET", "/", &[("a", &long)]),
        head("GET", &path, &[]),
        many,
        endless,
    ] {
        let mut client = Client::connect(collector.addr).await;
        client.send(&request).await;
        if let Some(answer) = client.answer().await {
            assert_eq!(answer.code, 431);
        }
        assert_eq!(client.answer().await, None);
    }
    // The cookies and tokens of real clients are far below.
    let mut client = Client::connect(collector.addr).await;
    let usual = "a".repeat(8 << 10);
    let headers = [
        ("content-type", PROTOBUF),
        ("authorization", usual.as_str()),
    ];
    let answer = client.call(&post("/v1/traces", &headers, b"x")).await;
    assert_eq!(answer.code, 200);
}
