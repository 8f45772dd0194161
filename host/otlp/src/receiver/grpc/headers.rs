//! The headers of a request.

use http::{HeaderMap, Method, Request, StatusCode, header};
use tonic::Status;

use crate::compression::Compression;

/// Returns the HTTP status for a request that no gRPC client sends; `None` for a gRPC request.
pub(super) fn not_grpc<B>(request: &Request<B>) -> Option<StatusCode> {
    if request.method() != Method::POST {
        return Some(StatusCode::METHOD_NOT_ALLOWED);
    }
    match codec(request.headers()) {
        Some(_) => None,
        None => Some(StatusCode::UNSUPPORTED_MEDIA_TYPE),
    }
}

/// Returns the encoding of a gRPC request's messages, as its content type names it: empty, or `+`
/// and a name. Returns `None` if the request is not gRPC; gRPC-Web, which has another framing, is
/// not.
fn codec(headers: &HeaderMap) -> Option<&[u8]> {
    const GRPC: &[u8] = b"application/grpc";
    let kind = headers.get(header::CONTENT_TYPE)?.as_bytes();
    let (start, codec) = kind.split_at_checked(GRPC.len())?;
    // Parameters may follow; none has a meaning here.
    let end = codec.iter().position(|byte| *byte == b';');
    let codec = codec.get(..end.unwrap_or(codec.len()))?.trim_ascii();
    let is_grpc = start.eq_ignore_ascii_case(GRPC) && matches!(codec, [] | [b'+', ..]);
    is_grpc.then_some(codec)
}

/// Checks that the messages of a request are protobuf.
pub(super) fn is_protobuf(headers: &HeaderMap) -> Result<(), Status> {
    match codec(headers) {
        None | Some(b"" | b"+proto") => Ok(()),
        Some(other) => Err(Status::unimplemented(format!(
            "messages in the encoding \"{}\" are not supported: send protobuf, with the content-type \
             application/grpc",
            excerpt(&String::from_utf8_lossy(other))
        ))),
    }
}

/// Returns the compression of a request.
pub(super) fn encoding(headers: &HeaderMap) -> Result<Compression, Status> {
    let Some(name) = headers.get("grpc-encoding") else {
        return Ok(Compression::None);
    };
    Compression::named(name.as_bytes()).ok_or_else(|| {
        Status::unimplemented(format!(
            "grpc-encoding \"{}\" is not supported: compress with gzip or zstd, or not at all",
            excerpt(&String::from_utf8_lossy(name.as_bytes()))
        ))
    })
}

/// Returns the beginning of a text that a client sent, for a message.
pub(super) fn excerpt(text: &str) -> &str {
    /// The path of an OTLP method has 66 bytes.
    const MAX_EXCERPT_BYTES: usize = 80;
    text.get(..text.floor_char_boundary(MAX_EXCERPT_BYTES))
        .unwrap_or(text)
}
