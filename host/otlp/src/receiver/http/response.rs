//! The responses to requests.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, Version, header};
use http_body_util::Full;
use spandrel_pipeline::ingress::Acceptance;
use spandrel_wire::{Signal, json};
use tonic::body::Body;
use tonic::{Code, Status};

use super::format::Format;
use crate::status::{self, HttpRefusal};

/// Returns 200 with the response that means full success, or with the refused items.
pub(super) fn ok(signal: Signal, format: Format, accepted: &Acceptance) -> Response<Body> {
    let partial = status::partial_success(signal, accepted);
    let body = match format {
        Format::Protobuf => partial.map_or_else(Vec::new, |partial| partial.encode()),
        Format::Json => json::write_response(signal, &partial.unwrap_or_default()),
    };
    answer(StatusCode::OK, format, body.into())
}

/// Returns the answer to a request that was refused. A client that sent neither of the formats gets
/// JSON, which can be read without a decoder.
pub(super) fn refused(refusal: HttpRefusal, format: Option<Format>) -> Response<Body> {
    let format = format.unwrap_or(Format::Json);
    let body = match format {
        Format::Protobuf => refusal.protobuf(),
        Format::Json => refusal.json(),
    };
    let mut response = answer(refusal.code(), format, body.into());
    response.headers_mut().extend(refusal.into_headers());
    response
}

fn answer(code: StatusCode, format: Format, body: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::new(Full::new(body)));
    *response.status_mut() = code;
    let kind = format.content_type();
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// Returns the answer to a call of gRPC, which its client understands.
pub(super) fn grpc(words: &str) -> Response<Body> {
    Status::new(Code::Unimplemented, words).into_http()
}

/// Returns an answer without a body.
pub(super) fn empty(code: StatusCode, headers: HeaderMap) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = code;
    *response.headers_mut() = headers;
    response
}

/// Tells a client of HTTP/1 that its connection ends with this answer, unless all of its request has
/// come.
pub(super) fn close_unless(is_whole: bool, version: Version, response: &mut Response<Body>) {
    if !is_whole && version < Version::HTTP_2 {
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(header::CONNECTION, close);
    }
}
