//! Compressed messages: gzip, which every peer of OTLP supports, zstd, which most support, and on
//! HTTP also deflate.
//!
//! Both directions work in steps and give the thread back in between, because one message of 64 MiB
//! takes longer than any other task should have to wait.

mod inflate;

use std::io;

use bytes::Bytes;
use flate2::{Compress, FlushCompress, Status};
use http::HeaderValue;
use zstd::stream::raw::{CParameter, Encoder, InBuffer, Operation, OutBuffer};

pub(crate) use inflate::{InflateError, Inflater, MAX_STATE_BYTES, MIN_STATE_BYTES, state_bytes};

/// The compression of a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// No compression.
    None,
    /// gzip, which the Collector's exporters use by default.
    #[default]
    Gzip,
    /// zstd: smaller and faster, for backends that support it.
    Zstd,
    /// The zlib format, which HTTP calls `deflate`.
    Deflate,
}

/// The encodings that the receiver accepts, as `grpc-accept-encoding` tells a sender that tried
/// another one.
pub(crate) const ACCEPTED: HeaderValue = HeaderValue::from_static("identity,gzip,zstd");

/// Level 4 of zlib-rs. On OTLP, level 6 takes a third more time and saves a twentieth of the size.
const GZIP_LEVEL: u32 = 4;

/// The window of every gzip stream, as a power of two; decoders must support it.
const GZIP_WINDOW_BITS: u8 = 15;

/// Level 1 of zstd. On OTLP it reaches the size of that gzip at five times its speed.
const ZSTD_LEVEL: i32 = 1;

/// The bytes of input between two points where other tasks may run: a few milliseconds of gzip.
const STEP: usize = 256 * 1024;

impl Compression {
    /// Returns the compression that `grpc-encoding` names; `None` if the name is unknown.
    pub(crate) fn named(name: &[u8]) -> Option<Self> {
        match name {
            b"identity" => Some(Self::None),
            b"gzip" => Some(Self::Gzip),
            b"zstd" => Some(Self::Zstd),
            _ => None,
        }
    }

    /// Returns the compression that `content-encoding` names; `None` if the name is unknown. The
    /// Collector calls the zlib format by its own name, too.
    pub(crate) fn of_content(name: &[u8]) -> Option<Self> {
        const NAMES: [(&str, Compression); 7] = [
            ("", Compression::None),
            ("identity", Compression::None),
            ("gzip", Compression::Gzip),
            ("x-gzip", Compression::Gzip),
            ("zstd", Compression::Zstd),
            ("deflate", Compression::Deflate),
            ("zlib", Compression::Deflate),
        ];
        let name = name.trim_ascii();
        let same = |(known, _): &&(&str, Self)| name.eq_ignore_ascii_case(known.as_bytes());
        NAMES.iter().find(same).map(|(_, compression)| *compression)
    }

    /// Returns the name for `grpc-encoding` or `content-encoding`; `None` for no compression.
    pub(crate) fn name(self) -> Option<HeaderValue> {
        match self {
            Self::None => None,
            Self::Gzip => Some(HeaderValue::from_static("gzip")),
            Self::Zstd => Some(HeaderValue::from_static("zstd")),
            Self::Deflate => Some(HeaderValue::from_static("deflate")),
        }
    }

    /// Compresses a message. Fails only when there is no memory.
    pub(crate) async fn compress(self, message: Bytes) -> io::Result<Bytes> {
        match self {
            Self::None => Ok(message),
            Self::Gzip => deflate(&message, gzip_stream()).await,
            Self::Deflate => deflate(&message, zlib_stream()).await,
            Self::Zstd => zstd(&message).await,
        }
    }
}

fn gzip_stream() -> Compress {
    Compress::new_gzip(flate2::Compression::new(GZIP_LEVEL), GZIP_WINDOW_BITS)
}

fn zlib_stream() -> Compress {
    Compress::new(flate2::Compression::new(GZIP_LEVEL), true)
}

async fn deflate(message: &[u8], mut stream: Compress) -> io::Result<Bytes> {
    // OTLP shrinks to a tenth or so; the buffer grows when it does not.
    let mut out = Vec::with_capacity(message.len() / 8 + 1024);
    for step in message.chunks(STEP) {
        let mut rest = step;
        while !rest.is_empty() {
            make_room(&mut out);
            let before = stream.total_in();
            stream.compress_vec(rest, &mut out, FlushCompress::None)?;
            rest = after(rest, stream.total_in() - before);
        }
        tokio::task::yield_now().await;
    }
    loop {
        make_room(&mut out);
        if stream.compress_vec(&[], &mut out, FlushCompress::Finish)? == Status::StreamEnd {
            return Ok(Bytes::from(out));
        }
    }
}

async fn zstd(message: &[u8]) -> io::Result<Bytes> {
    let mut stream = Encoder::new(ZSTD_LEVEL)?;
    // A decoder that knows the size beforehand needs one buffer and no window.
    stream.set_pledged_src_size(u64::try_from(message.len()).ok())?;
    stream.set_parameter(CParameter::ChecksumFlag(true))?;
    let mut out = Vec::with_capacity(message.len() / 8 + 1024);
    for step in message.chunks(STEP) {
        let mut input = InBuffer::around(step);
        while input.pos() < step.len() {
            make_room(&mut out);
            let filled = out.len();
            stream.run(&mut input, &mut OutBuffer::around_pos(&mut out, filled))?;
        }
        tokio::task::yield_now().await;
    }
    loop {
        make_room(&mut out);
        let filled = out.len();
        if stream.finish(&mut OutBuffer::around_pos(&mut out, filled), true)? == 0 {
            return Ok(Bytes::from(out));
        }
    }
}

/// Makes room in `out` if it is full: both streams make progress whenever there is room to write
/// into.
fn make_room(out: &mut Vec<u8>) {
    if out.len() == out.capacity() {
        out.reserve(out.len().max(1024));
    }
}

/// Returns the part of `input` that follows the first `taken` bytes.
fn after(input: &[u8], taken: u64) -> &[u8] {
    usize::try_from(taken)
        .ok()
        .and_then(|taken| input.get(taken..))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests;
