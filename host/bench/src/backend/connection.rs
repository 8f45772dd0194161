//! One connection of the backend.

use std::io::Read as _;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use h2::RecvStream;
use h2::server::SendResponse;
use http::{HeaderMap, HeaderValue, Request, Response};
use parking_lot::Mutex;
use spandrel_wire::Signal;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::Count;
use crate::settings::Windows;
use crate::template::PREFIX;

/// The number of streams whose windows a connection has room for.
const STREAMS_PER_WINDOW: u32 = 4;
/// The most requests under way in a connection; more than any exporter sends at once.
const MAX_STREAMS: u32 = 1024;
/// The most bytes that one compressed message may inflate to: more than any batch that the bench
/// sends.
const MAX_INFLATED: u64 = 256 << 20;
/// The message of a successful answer: not compressed, and of no bytes.
const SUCCESS: &[u8] = &[0; PREFIX];

pub(super) async fn serve(stream: TcpStream, windows: Windows, count: Arc<Mutex<Count>>) {
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let handshake = h2::server::Builder::new()
        .initial_window_size(windows.stream)
        .initial_connection_window_size(
            windows
                .stream
                .saturating_mul(STREAMS_PER_WINDOW)
                .min(1 << 30),
        )
        .max_frame_size(windows.frame)
        .max_concurrent_streams(MAX_STREAMS)
        .handshake::<_, Bytes>(stream)
        .await;
    let Ok(mut connection) = handshake else {
        return;
    };
    let mut calls = JoinSet::new();
    loop {
        tokio::select! {
            accepted = connection.accept() => match accepted {
                Some(Ok((request, response))) => {
                    calls.spawn(answer(request, response, Arc::clone(&count)));
                }
                Some(Err(_)) | None => return,
            },
            Some(_) = calls.join_next() => {}
        }
    }
}

async fn answer(
    request: Request<RecvStream>,
    response: SendResponse<Bytes>,
    count: Arc<Mutex<Count>>,
) {
    let (parts, body) = request.into_parts();
    let refusal = match Signal::from_export_path(parts.uri.path()) {
        None => Some((12, "the bench's backend takes OTLP exports only")),
        Some(signal) => {
            let Ok(pieces) = pieces(body).await else {
                return;
            };
            take(signal, &parts.headers, pieces, &count).err()
        }
    };
    // A caller that went away needs no answer.
    respond(response, refusal).unwrap_or_default();
}

/// Returns the pieces of a request's body.
async fn pieces(mut body: RecvStream) -> Result<Vec<Bytes>, h2::Error> {
    let mut pieces = Vec::new();
    while let Some(piece) = body.data().await {
        let piece = piece?;
        body.flow_control().release_capacity(piece.len())?;
        pieces.push(piece);
    }
    Ok(pieces)
}

type Refusal = (u8, &'static str);

/// Counts a message, inflated if need be.
fn take(
    signal: Signal,
    headers: &HeaderMap,
    mut pieces: Vec<Bytes>,
    count: &Mutex<Count>,
) -> Result<(), Refusal> {
    let prefix = cut_prefix(&mut pieces).ok_or((3, "no message"))?;
    if prefix.first() == Some(&0) {
        count.lock().message(signal, &pieces);
        return Ok(());
    }
    let encoding = headers
        .get("grpc-encoding")
        .map_or(&b""[..], HeaderValue::as_bytes);
    let whole = pieces.concat();
    let mut inflated = Vec::new();
    let (name, read) = match encoding {
        b"gzip" => (
            "gzip",
            flate2::read::GzDecoder::new(&*whole)
                .take(MAX_INFLATED)
                .read_to_end(&mut inflated),
        ),
        b"zstd" => (
            "zstd",
            zstd::Decoder::new(&*whole)
                .and_then(|d| d.take(MAX_INFLATED).read_to_end(&mut inflated)),
        ),
        _ => return Err((12, "the bench's backend knows gzip and zstd")),
    };
    read.map_err(|_| (3, "cannot inflate the message"))?;
    let mut count = count.lock();
    count.encoding = Some(name);
    count.message(signal, &[Bytes::from(inflated)]);
    Ok(())
}

/// Takes off the five bytes before the message, and returns them.
fn cut_prefix(pieces: &mut [Bytes]) -> Option<BytesMut> {
    let mut prefix = BytesMut::new();
    for piece in pieces {
        let missing = PREFIX - prefix.len();
        prefix.extend_from_slice(&piece.split_to(missing.min(piece.len())));
    }
    (prefix.len() == PREFIX).then_some(prefix)
}

fn respond(mut response: SendResponse<Bytes>, refusal: Option<Refusal>) -> Result<(), h2::Error> {
    let mut head = Response::new(());
    head.headers_mut()
        .insert("content-type", HeaderValue::from_static("application/grpc"));
    if let Some((code, message)) = refusal {
        head.headers_mut()
            .insert("grpc-status", HeaderValue::from(u16::from(code)));
        head.headers_mut()
            .insert("grpc-message", HeaderValue::from_static(message));
        response.send_response(head, true)?;
        return Ok(());
    }
    let mut stream = response.send_response(head, false)?;
    stream.send_data(Bytes::from_static(SUCCESS), false)?;
    let mut trailers = HeaderMap::with_capacity(1);
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    stream.send_trailers(trailers)
}
