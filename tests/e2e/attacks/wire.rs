//! Handwritten HTTP/2: frames that no client sends.

use std::time::Duration;

use anyhow::{Context as _, Result};
use spandrel_tests::until;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::timeout;

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;
pub(super) const END_STREAM: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;

/// The error code `ENHANCE_YOUR_CALM`.
pub(super) const CALM: u32 = 11;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const EXPORT: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

/// The longest time that a write may wait for a peer that does not read.
const PATIENCE: Duration = Duration::from_millis(500);

/// Encodes one frame.
pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len())
        .unwrap_or_default()
        .to_be_bytes();
    let head = [&len[1..], &[kind, flags], &stream.to_be_bytes()].concat();
    [&head, payload].concat()
}

/// Encodes the headers of an export, without entries for the dynamic table.
pub(super) fn export(encoding: Option<&str>) -> Vec<u8> {
    let mut block = vec![0x83, 0x86];
    let text = |block: &mut Vec<u8>, text: &str| {
        block.push(u8::try_from(text.len()).unwrap_or_default());
        block.extend_from_slice(text.as_bytes());
    };
    block.push(0x04);
    text(&mut block, EXPORT);
    block.push(0x01);
    text(&mut block, "collector");
    block.extend_from_slice(&[0x0f, 0x10]);
    text(&mut block, "application/grpc");
    if let Some(encoding) = encoding {
        block.push(0x00);
        text(&mut block, "grpc-encoding");
        text(&mut block, encoding);
    }
    block
}

/// Encodes a gRPC message, compressed or not.
pub(super) fn message(compressed: bool, bytes: &[u8]) -> Vec<u8> {
    let len = u32::try_from(bytes.len()).unwrap_or_default().to_be_bytes();
    [&[u8::from(compressed)], &len[..], bytes].concat()
}

/// One connection of an attacker.
pub(super) struct Raw {
    read: OwnedReadHalf,
    write: OwnedWriteHalf,
    next: u32,
}

impl Raw {
    /// Connects over TCP and sends nothing.
    pub(super) async fn silent(address: &str) -> Result<Self> {
        let stream = timeout(PATIENCE, TcpStream::connect(address)).await??;
        stream.set_nodelay(true)?;
        let (read, write) = stream.into_split();
        let next = 1;
        Ok(Self { read, write, next })
    }

    /// Connects as an HTTP/2 client, with these settings.
    pub(super) async fn with(address: &str, settings: &[u8]) -> Result<Self> {
        let mut raw = Self::silent(address).await?;
        raw.send(PREFACE).await?;
        raw.send(&frame(SETTINGS, 0, 0, settings)).await?;
        Ok(raw)
    }

    pub(super) async fn connect(address: &str) -> Result<Self> {
        Self::with(address, &[]).await
    }

    /// Connects, and waits for the window that the other side gives to the connection. An attacker
    /// that sends more than 64 KiB before that is disconnected for that, and not for the attack
    /// itself.
    pub(super) async fn ready(address: &str) -> Result<Self> {
        let mut raw = Self::connect(address).await?;
        let told = async {
            loop {
                let mut head = [0; 9];
                raw.read.read_exact(&mut head).await?;
                let len = u32::from_be_bytes([0, head[0], head[1], head[2]]);
                raw.read
                    .read_exact(&mut vec![0; usize::try_from(len)?])
                    .await?;
                if head[3] == WINDOW_UPDATE {
                    return anyhow::Ok(());
                }
            }
        };
        timeout(until::PATIENCE, told).await??;
        Ok(raw)
    }

    /// Returns the number of a new stream.
    pub(super) fn stream(&mut self) -> u32 {
        self.next += 2;
        self.next - 2
    }

    /// Sends the bytes. Returns an error if the other side has ended the connection, or does not
    /// read.
    pub(super) async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(timeout(PATIENCE, self.write.write_all(bytes)).await??)
    }

    /// Discards the bytes that came, without waiting for more.
    pub(super) fn skim(&self) {
        let mut bytes = [0; 16 * 1024];
        while matches!(self.read.try_read(&mut bytes), Ok(1..)) {}
    }

    /// Reads until the connection is closed or reset. Returns the code of the last GOAWAY, if one
    /// came.
    ///
    /// # Errors
    /// Returns an error if the other side does not end the connection within this time.
    pub(super) async fn told(&mut self, limit: Duration) -> Result<Option<u32>> {
        let mut all = Vec::new();
        // A reset is also an end: the bytes before it count.
        let ended = timeout(limit, self.read.read_to_end(&mut all)).await;
        drop(ended.context("the connection goes on")?);
        Ok(last_goaway(&all))
    }
}

fn last_goaway(mut rest: &[u8]) -> Option<u32> {
    let mut code = None;
    while let Some((head, after)) = rest.split_at_checked(9) {
        let len = usize::try_from(u32::from_be_bytes([0, head[0], head[1], head[2]])).ok()?;
        let Some((payload, after)) = after.split_at_checked(len) else {
            break;
        };
        if head[3] == GOAWAY {
            code = payload
                .get(4..8)
                .and_then(|word| word.try_into().ok())
                .map(u32::from_be_bytes);
        }
        rest = after;
    }
    code
}
