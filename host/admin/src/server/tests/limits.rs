use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{Duration, Instant};

use super::setup::Served;

/// Sends `head`, and reads the answer until the connection ends.
async fn say(served: &Served, head: &str) -> String {
    let mut stream = served.connect().await;
    stream.write_all(head.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("read");
    answer
}

fn swap(kind: &str, length: &str) -> String {
    format!(
        "POST /v1/stages/wasm%2Ftag/swap HTTP/1.1\r\nhost: localhost\r\ncontent-type: {kind}\r\n{length}\r\nconnection: close\r\n\r\n"
    )
}

/// A client that announces a body that is too large is refused before it sends the body, and
/// nothing is read.
#[tokio::test]
async fn too_large_bodies_are_refused_before_they_come() {
    let served = Served::unix().await;
    for (kind, length, most) in [
        ("application/wasm", (64 << 20) + 1, "64 MiB"),
        ("application/json", (1 << 20) + 1, "1 MiB"),
    ] {
        let head = swap(kind, &format!("content-length: {length}"));
        let answer = say(&served, &head).await;
        assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
        assert!(answer.contains(most), "{answer}");
    }
}

/// A client that does not announce the size is stopped at the limit.
#[tokio::test]
async fn too_large_bodies_are_cut_off() {
    let served = Served::unix().await;
    let mut stream = served.connect().await;
    let head = swap("application/json", "transfer-encoding: chunked");
    stream.write_all(head.as_bytes()).await.expect("sent");
    let mut chunk = b"10000\r\n".to_vec();
    chunk.resize(chunk.len() + 0x10000, b' ');
    chunk.extend(b"\r\n");
    for _ in 0..17 {
        stream.write_all(&chunk).await.expect("taken");
    }
    let mut answer = [0; 16];
    stream.read_exact(&mut answer).await.expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 413 Pay");
}

/// A connection that sends no complete request, or no complete body, does not keep its place.
#[tokio::test(start_paused = true)]
async fn slow_senders_lose_their_place() {
    let served = Served::unix().await;
    let began = Instant::now();
    let answer = say(&served, "GET /v1/stages HTTP/1.1\r\nhost: loc").await;
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 408"),
        "{answer}"
    );
    assert_eq!(began.elapsed().as_secs(), 5);
    let answer = say(&served, &swap("application/wasm", "content-length: 9")).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(began.elapsed() > Duration::from_secs(60));
}

/// A body that ends early is refused.
#[tokio::test]
async fn a_body_that_ends_early_is_refused() {
    let served = Served::unix().await;
    let mut stream = served.connect().await;
    let head = swap("application/wasm", "content-length: 9");
    stream.write_all(head.as_bytes()).await.expect("sent");
    stream.write_all(b"half").await.expect("sent");
    stream.shutdown().await.expect("closed");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("read");
    assert!(served.fake.asked.lock().expect("not poisoned").is_empty());
}
