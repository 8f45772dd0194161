//! Answers requests of OTLP/gRPC, from the headers to the response.

mod headers;
mod health;
mod response;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use http::{Request, Response};
use hyper::body::Incoming;
use spandrel_pipeline::ingress::Acceptance;
use spandrel_wire::Signal;
use tokio::time::timeout;
use tonic::body::Body;
use tonic::{Code, Status};

use self::headers::excerpt;
use self::health::Health;
use self::response::HealthBody;
use super::export::{Exports, RequestForm};
use super::front::{ConnectionId, ProtocolLog, Purpose, RequestHandler, WrongProtocol};
use super::request::{Framing, RequestBody};
use crate::compression::ACCEPTED;
use crate::method;
use crate::status::{self, RequestError};

/// The time that a request for health may take to arrive: it is a few bytes, and from anybody.
const HEALTH_LIMIT: Duration = Duration::from_secs(5);

/// The path prefix of the health service's methods.
const HEALTH: &str = "/grpc.health.v1.Health/";

/// The path of the health method whose answer goes on.
const WATCH: &str = "/grpc.health.v1.Health/Watch";

/// Answers the requests of OTLP/gRPC that come to one port.
#[derive(Debug)]
pub(crate) struct GrpcHandler {
    exports: Exports,
    health: Health,
    protocol_log: Arc<ProtocolLog>,
}

impl RequestHandler for GrpcHandler {
    fn purpose(&self, path: &str) -> Purpose {
        if path == WATCH {
            Purpose::HealthWatch
        } else if path.starts_with(HEALTH) {
            Purpose::Health
        } else {
            Purpose::Export
        }
    }

    fn answer(
        &self,
        request: Request<Incoming>,
        connection: ConnectionId,
        peer: SocketAddr,
    ) -> impl Future<Output = Response<Body>> + Send {
        self.respond(request, connection, peer)
    }

    async fn stop(&self) {
        self.health.stop().await;
    }
}

impl GrpcHandler {
    pub(crate) fn new(exports: Exports, protocol_log: Arc<ProtocolLog>) -> Self {
        Self {
            exports,
            health: Health::new(),
            protocol_log,
        }
    }

    async fn respond<B: RequestBody>(
        &self,
        request: Request<B>,
        connection: ConnectionId,
        peer: SocketAddr,
    ) -> Response<Body> {
        if request.uri().path().starts_with(HEALTH) {
            return Box::pin(self.health(request)).await;
        }
        if let Some(code) = headers::not_grpc(&request) {
            self.protocol_log.record(WrongProtocol::NotGrpc, peer);
            return response::not_grpc(code, self.protocol_log.guide());
        }
        let (head, mut body) = request.into_parts();
        match self.export(&head, &mut body, connection).await {
            Ok((signal, accepted)) => {
                self.exports.accepted(&accepted, peer);
                response::ok(signal, &accepted)
            }
            Err(status) => {
                Box::pin(self.exports.refused(&status, Some(body), peer)).await;
                let mut response = status.into_http();
                if response::code_of(&response) == Some(Code::Unimplemented) {
                    let headers = response.headers_mut();
                    headers.insert("grpc-accept-encoding", ACCEPTED);
                }
                response
            }
        }
    }

    async fn export<B: RequestBody>(
        &self,
        head: &Parts,
        body: &mut B,
        connection: ConnectionId,
    ) -> Result<(Signal, Acceptance), Status> {
        self.exports.authenticate(&head.headers).await?;
        headers::is_protobuf(&head.headers)?;
        let signal = self.route(head.uri.path())?;
        let compression = headers::encoding(&head.headers)?;
        let form = RequestForm {
            signal,
            framing: Framing::Message,
            compression,
            json: None,
        };
        let taken = self.exports.take(form, body, connection);
        Ok((signal, taken.await?))
    }

    fn route(&self, path: &str) -> Result<Signal, Status> {
        let Some(signal) = Signal::from_export_path(path) else {
            return Err(Status::unimplemented(format!(
                "unknown method \"{}\": this port takes {}",
                excerpt(path),
                method::NAMES
            )));
        };
        if self.exports.ingress().carries(signal) {
            return Ok(signal);
        }
        Err(Status::unimplemented(format!(
            "no pipeline takes this signal: unknown service {}",
            method::service(signal)
        )))
    }

    async fn health<B: RequestBody>(&self, request: Request<B>) -> Response<Body> {
        let answer = self.health.answer(request, self.exports.ingress());
        let Ok(response) = timeout(HEALTH_LIMIT, answer).await else {
            return status::request_error(&RequestError::Slow, None).into_http();
        };
        response.map(|body| Body::new(HealthBody::new(body, self.exports.shutdown())))
    }
}

#[cfg(test)]
mod tests;
