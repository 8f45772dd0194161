//! The attacks on the port of HTTP that are written in HTTP/1.1.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use tokio::time::sleep;

use super::set::{Attack, Target};
use super::wire::Raw;

const HEAD: &str =
    "POST /v1/traces HTTP/1.1\r\nhost: collector\r\ncontent-type: application/x-protobuf\r\n";

macro_rules! attack {
    ($name:literal, $attackers:literal, $round:ident) => {
        Attack {
            name: $name,
            attackers: $attackers,
            over_tls: false,
            port: "otlp http",
            round: |target| Box::pin($round(target)),
        }
    };
}

pub(super) fn all() -> Vec<Attack> {
    vec![
        attack!("1.1: idle connections", 100, idle),
        attack!("1.1: slow heads", 500, slow_heads),
        attack!("1.1: endless heads", 10, endless_heads),
        attack!("1.1: many headers", 10, many_headers),
        attack!("1.1: slow bodies", 500, slow_bodies),
        attack!("1.1: lengths announced", 500, announced),
        attack!("1.1: tiny chunks", 10, tiny_chunks),
    ]
}

/// Returns the attacks with whole bodies.
pub(super) fn bodies() -> Vec<Attack> {
    vec![
        attack!("1.1: endless bodies", 3, endless_bodies),
        attack!("1.1: answers not read", 50, unread),
        attack!("1.1: smuggling", 10, smuggling),
        attack!("1.1: gzip bombs", 10, gzip_bombs),
        attack!("1.1: zstd bombs", 10, zstd_bombs),
        attack!("1.1: gzip bombs that fit", 10, gzip_that_fits),
        attack!("1.1: zstd bombs that fit", 10, zstd_that_fits),
    ]
}

async fn idle(target: Target) -> Result<()> {
    let mut all = Vec::new();
    for _ in 0..100 {
        if let Ok(raw) = target.silent().await {
            all.push(raw);
        }
    }
    target.wait().await;
    Ok(())
}

async fn slow_heads(target: Target) -> Result<()> {
    let mut raw = target.silent().await?;
    for byte in HEAD.bytes() {
        if target.is_on() {
            raw.send(&[byte]).await?;
            pause().await;
        }
    }
    Ok(())
}

async fn endless_heads(target: Target) -> Result<()> {
    let mut raw = target.silent().await?;
    raw.send(HEAD.as_bytes()).await?;
    raw.send(b"a: ").await?;
    repeat(raw, target, &[b'b'; 10_000]).await
}

async fn many_headers(target: Target) -> Result<()> {
    let mut raw = target.silent().await?;
    raw.send(HEAD.as_bytes()).await?;
    repeat(raw, target, &b"a: b\r\n".repeat(1000)).await
}

async fn slow_bodies(target: Target) -> Result<()> {
    let mut raw = target.silent().await?;
    raw.send(format!("{HEAD}content-length: 1000\r\n\r\n").as_bytes())
        .await?;
    while target.is_on() {
        raw.send(b"x").await?;
        pause().await;
    }
    Ok(())
}

/// Announces 20 MiB, the longest body that is taken, and sends none of it.
async fn announced(target: Target) -> Result<()> {
    let mut raw = target.silent().await?;
    raw.send(format!("{HEAD}content-length: 20971520\r\n\r\n").as_bytes())
        .await?;
    target.wait().await;
    Ok(())
}

async fn tiny_chunks(target: Target) -> Result<()> {
    let raw = chunked(&target).await?;
    repeat(raw, target, &b"1\r\nx\r\n".repeat(5000)).await
}

async fn endless_bodies(target: Target) -> Result<()> {
    let raw = chunked(&target).await?;
    let chunk = [&b"10000\r\n"[..], &[0; 1 << 16], b"\r\n"].concat();
    repeat(raw, target, &chunk).await
}

async fn chunked(target: &Target) -> Result<Raw> {
    let mut raw = target.silent().await?;
    raw.send(format!("{HEAD}transfer-encoding: chunked\r\n\r\n").as_bytes())
        .await?;
    Ok(raw)
}

/// Sends request after request and reads no answer.
async fn unread(target: Target) -> Result<()> {
    let mut raw = target.silent().await?;
    let requests = "GET / HTTP/1.1\r\n\r\n".repeat(1000);
    while target.is_on() {
        raw.send(requests.as_bytes()).await?;
    }
    Ok(())
}

/// Sends requests whose ends can be read in two ways, again and again.
async fn smuggling(target: Target) -> Result<()> {
    while target.is_on() {
        for lines in [
            "content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            "content-length: 1\r\ncontent-length: 2\r\n\r\nx",
            "transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n",
            "content-length : 1\r\n\r\nx",
            "transfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
        ] {
            let mut raw = target.silent().await?;
            raw.send(format!("{HEAD}{lines}GET / HTTP/1.1\r\n\r\n").as_bytes())
                .await?;
        }
        pause().await;
    }
    Ok(())
}

async fn gzip_bombs(target: Target) -> Result<()> {
    let bomb = Arc::clone(&target.bombs.gzip);
    bombs(target, "gzip", &bomb).await
}

async fn zstd_bombs(target: Target) -> Result<()> {
    let bomb = Arc::clone(&target.bombs.zstd);
    bombs(target, "zstd", &bomb).await
}

async fn gzip_that_fits(target: Target) -> Result<()> {
    let bomb = Arc::clone(&target.bombs.gzip_that_fits);
    bombs(target, "gzip", &bomb).await
}

async fn zstd_that_fits(target: Target) -> Result<()> {
    let bomb = Arc::clone(&target.bombs.zstd_that_fits);
    bombs(target, "zstd", &bomb).await
}

/// Sends a bomb on each of ten connections at once, and again.
async fn bombs(target: Target, encoding: &str, bomb: &[u8]) -> Result<()> {
    let head = format!(
        "{HEAD}content-encoding: {encoding}\r\ncontent-length: {}\r\n\r\n",
        bomb.len()
    );
    let request = [head.as_bytes(), bomb].concat();
    while target.is_on() {
        let mut all = Vec::new();
        for _ in 0..10 {
            let mut raw = target.silent().await?;
            raw.send(&request).await?;
            all.push(raw);
        }
        pause().await;
        all.iter().for_each(Raw::skim);
    }
    Ok(())
}

async fn repeat(mut raw: Raw, target: Target, bytes: &[u8]) -> Result<()> {
    while target.is_on() {
        raw.send(bytes).await?;
        raw.skim();
    }
    Ok(())
}

/// Paces a slow attacker. It does not wait for anything.
async fn pause() {
    sleep(Duration::from_millis(100)).await;
}
