//! Answers requests of OTLP/HTTP, from the headers to the response.

mod format;
mod origins;
mod response;

use std::net::SocketAddr;
use std::sync::Arc;

use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use spandrel_pipeline::ingress::Acceptance;
use spandrel_wire::{InvalidUtf8, Signal};
use tonic::Code;
use tonic::body::Body;

use self::format::Format;
use self::origins::Origins;
use super::export::{Exports, RequestForm};
use super::front::{ConnectionId, ProtocolLog, Purpose, RequestHandler, WrongProtocol};
use super::request::{Framing, RequestBody};
use super::settings::{HttpConfig, SignalPaths};
use crate::compression::Compression;
use crate::status::HttpRefusal;

/// The most characters of a client's own text in a message.
const MAX_EXCERPT: usize = 80;

/// Answers the requests of OTLP/HTTP that come to one port.
#[derive(Debug)]
pub(crate) struct HttpHandler {
    exports: Exports,
    paths: SignalPaths,
    compressions: Vec<Compression>,
    invalid_utf8: InvalidUtf8,
    origins: Option<Origins>,
    /// The headers of every response.
    headers: HeaderMap,
    protocol_log: Arc<ProtocolLog>,
}

/// The facts in the head of a request.
#[derive(Clone, Copy, Debug)]
struct Export {
    signal: Signal,
    format: Format,
    compression: Compression,
}

impl RequestHandler for HttpHandler {
    fn purpose(&self, _path: &str) -> Purpose {
        Purpose::Export
    }

    fn answer(
        &self,
        request: Request<Incoming>,
        connection: ConnectionId,
        peer: SocketAddr,
    ) -> impl Future<Output = Response<Body>> + Send {
        self.respond(request, connection, peer)
    }

    fn stop(&self) -> impl Future<Output = ()> + Send {
        // Nobody watches over HTTP.
        std::future::ready(())
    }
}

impl HttpHandler {
    pub(crate) fn new(
        config: &HttpConfig,
        exports: Exports,
        protocol_log: Arc<ProtocolLog>,
    ) -> Self {
        // The configuration has checked them.
        let headers = config.response_headers.iter().filter_map(|(name, value)| {
            let value = HeaderValue::from_str(value.reveal()).ok()?;
            Some((HeaderName::from_bytes(name.as_bytes()).ok()?, value))
        });
        Self {
            exports,
            paths: config.paths.clone(),
            compressions: config.compressions.clone(),
            invalid_utf8: config.invalid_utf8,
            origins: config.cors.clone().map(Origins::new),
            headers: headers.collect(),
            protocol_log,
        }
    }

    async fn respond<B: RequestBody>(
        &self,
        request: Request<B>,
        connection: ConnectionId,
        peer: SocketAddr,
    ) -> Response<Body> {
        let (head, body) = request.into_parts();
        let mut response = self.outcome(&head, body, connection, peer).await;
        let headers = response.headers_mut();
        if let Some(origins) = &self.origins
            && !headers.contains_key(header::VARY)
        {
            origins.open(&head.headers, headers);
        }
        headers.extend(self.headers.clone());
        response
    }

    async fn outcome<B: RequestBody>(
        &self,
        head: &Parts,
        mut body: B,
        connection: ConnectionId,
        peer: SocketAddr,
    ) -> Response<Body> {
        // A preflight has no credentials.
        let origins = self.origins.as_ref();
        if let Some(headers) = origins.and_then(|origins| origins.preflight(head)) {
            return response::empty(StatusCode::NO_CONTENT, headers);
        }
        if format::is_grpc(&head.headers) {
            return self.misdirected(head, body, peer).await;
        }
        let format = Format::of(&head.headers);
        let (refusal, is_read) = match self.examine(head).await {
            Err(refusal) => (refusal, false),
            Ok(export) => match self.take(export, &mut body, connection).await {
                Ok(accepted) => {
                    self.exports.accepted(&accepted, peer);
                    return response::ok(export.signal, export.format, &accepted);
                }
                Err(refusal) => (refusal, true),
            },
        };
        // A client that waits for leave to send its body does not send it now.
        let waits = !is_read && head.headers.contains_key(header::EXPECT);
        let body = (!waits).then_some(body);
        let is_whole = self.exports.refused(refusal.status(), body, peer).await;
        let mut response = response::refused(refusal, format);
        response::close_unless(is_whole, head.version, &mut response);
        response
    }

    /// Answers a call of gRPC.
    async fn misdirected<B: RequestBody>(
        &self,
        head: &Parts,
        body: B,
        peer: SocketAddr,
    ) -> Response<Body> {
        self.protocol_log.record(WrongProtocol::Grpc, peer);
        let is_whole = self.exports.discard(body).await;
        let guide = self.protocol_log.guide();
        let mut response = response::grpc(&guide.remedy(WrongProtocol::Grpc));
        response::close_unless(is_whole, head.version, &mut response);
        response
    }

    /// Examines the head of a request.
    async fn examine(&self, head: &Parts) -> Result<Export, HttpRefusal> {
        if let Err(denied) = self.exports.authenticate(&head.headers).await {
            return Err(self.denied(denied.into()));
        }
        let signal = self.route(head.uri.path())?;
        if head.method != Method::POST {
            return Err(self.wrong_method());
        }
        Ok(Export {
            signal,
            format: Format::of(&head.headers).ok_or_else(wrong_format)?,
            compression: self.compression(&head.headers)?,
        })
    }

    async fn take<B: RequestBody>(
        &self,
        export: Export,
        body: &mut B,
        connection: ConnectionId,
    ) -> Result<Acceptance, HttpRefusal> {
        let length = body.size_hint().exact();
        let length = length.map(|length| usize::try_from(length).unwrap_or(usize::MAX));
        let form = RequestForm {
            signal: export.signal,
            framing: Framing::Body { length },
            compression: export.compression,
            json: (export.format == Format::Json).then_some(self.invalid_utf8),
        };
        Ok(self.exports.take(form, body, connection).await?)
    }

    fn denied(&self, refusal: HttpRefusal) -> HttpRefusal {
        match self.exports.challenge() {
            Some(challenge) if refusal.code() == StatusCode::UNAUTHORIZED => {
                let challenge = HeaderValue::from_static(challenge);
                refusal.with(header::WWW_AUTHENTICATE, challenge)
            }
            _ => refusal,
        }
    }

    fn route(&self, path: &str) -> Result<Signal, HttpRefusal> {
        let words = match self.paths.signal(path) {
            Some(signal) if self.exports.ingress().carries(signal) => return Ok(signal),
            Some(_) => format!("no pipeline takes what is sent to {}", excerpt(path)),
            None => {
                let [(_, traces), (_, metrics), (_, logs)] = self.paths.all();
                format!(
                    "unknown path \"{}\": this port takes {traces}, {metrics} and {logs}",
                    excerpt(path)
                )
            }
        };
        let (code, rpc) = (StatusCode::NOT_FOUND, Code::Unimplemented);
        Err(HttpRefusal::new(code, rpc, &words))
    }

    fn wrong_method(&self) -> HttpRefusal {
        let (code, rpc) = (StatusCode::METHOD_NOT_ALLOWED, Code::Unimplemented);
        let allowed = match &self.origins {
            None => "POST",
            Some(_) => "POST, OPTIONS",
        };
        HttpRefusal::new(code, rpc, "requests must be sent with POST")
            .with(header::ALLOW, HeaderValue::from_static(allowed))
    }

    fn compression(&self, headers: &HeaderMap) -> Result<Compression, HttpRefusal> {
        let mut named = headers.get_all(header::CONTENT_ENCODING).iter();
        let (name, more) = (named.next(), named.next());
        let name = name.map_or(&b""[..], HeaderValue::as_bytes);
        let known = Compression::of_content(name).filter(|_| more.is_none());
        let taken =
            known.filter(|known| *known == Compression::None || self.compressions.contains(known));
        taken.ok_or_else(|| {
            let accepted = self.compressions.iter().filter_map(|known| known.name());
            let accepted = accepted.filter_map(|name| Some(name.to_str().ok()?.to_owned()));
            let accepted = ["identity".to_owned()].into_iter().chain(accepted);
            let accepted = accepted.collect::<Vec<_>>().join(", ");
            let words = format!(
                "content-encoding \"{}\" is not supported: send {accepted}",
                excerpt(&String::from_utf8_lossy(name))
            );
            let (code, rpc) = (StatusCode::UNSUPPORTED_MEDIA_TYPE, Code::Unimplemented);
            let refusal = HttpRefusal::new(code, rpc, &words);
            match HeaderValue::try_from(accepted) {
                Ok(accepted) => refusal.with(header::ACCEPT_ENCODING, accepted),
                Err(_) => refusal,
            }
        })
    }
}

fn wrong_format() -> HttpRefusal {
    let (code, rpc) = (StatusCode::UNSUPPORTED_MEDIA_TYPE, Code::Unimplemented);
    let words = "unsupported content-type: send application/x-protobuf or application/json";
    HttpRefusal::new(code, rpc, words)
}

/// Returns the beginning of a text that a client sent, for a message.
fn excerpt(text: &str) -> &str {
    text.get(..text.floor_char_boundary(MAX_EXCERPT))
        .unwrap_or(text)
}

#[cfg(test)]
mod tests;
