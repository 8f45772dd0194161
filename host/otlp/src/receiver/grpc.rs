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
use spandrel_pipeline::ingress::{Acceptance, Ingress};
use spandrel_wire::Signal;
use tokio::time::{sleep, timeout};
use tonic::body::Body;
use tonic::{Code, Status};
use tracing::{debug, warn};

use self::headers::excerpt;
use self::health::Health;
use self::response::HealthBody;
use super::front::{
    AdmissionSlots, Budget, ConnectionId, LogLimit, ProtocolLog, Purpose, RequestHandler, Shutdown,
    WrongProtocol,
};
use super::request::{self, RequestBody};
use super::settings::ReceiverConfig;
use super::stats::ReceiverStats;
use crate::auth::Authenticator;
use crate::compression::ACCEPTED;
use crate::method;
use crate::status::{self, RequestError};

/// The time that the bytes of a request may take to arrive: three times an SDK's own patience with
/// the whole export. Without a limit, slow senders could hold the memory for requests for ever.
const READ_LIMIT: Duration = Duration::from_secs(30);

/// The time that the bytes of a request that is not read may take to arrive, and their largest
/// number: as many as a client may have sent before it can know. The receiver waits for them,
/// because streams that end too early are thrown away by the client, or count as its mistakes, and
/// many of either end the connection.
const DISCARD_LIMIT: Duration = Duration::from_secs(2);
const DISCARD_BYTES: usize = 4 << 20;

/// The time that they may take once the receiver is stopping, so that the answer arrives inside the
/// five seconds that an application has for its last flush.
const READ_LIMIT_DRAINING: Duration = Duration::from_secs(2);

/// The time that a request for health may take to arrive: it is a few bytes, and from anybody.
const HEALTH_LIMIT: Duration = Duration::from_secs(5);

/// The path prefix of the health service's methods.
const HEALTH: &str = "/grpc.health.v1.Health/";

/// The path of the health method whose answer goes on.
const WATCH: &str = "/grpc.health.v1.Health/Watch";

/// Answers the requests of a receiver.
#[derive(Debug)]
pub(crate) struct GrpcHandler {
    ingress: Arc<dyn Ingress>,
    auth: Option<Authenticator>,
    max_recv_msg_size: usize,
    budget: Budget,
    admission: AdmissionSlots,
    health: Health,
    shutdown: Shutdown,
    stats: Arc<ReceiverStats>,
    protocol_log: Arc<ProtocolLog>,
    log_limits: LogLimits,
    /// The address on which the receiver listens.
    endpoint: SocketAddr,
}

/// Decides when the log gets a line about an answer to a sender.
#[derive(Debug, Default)]
struct LogLimits {
    /// A request is refused for good.
    requests: LogLimit,
    /// Items of a request are refused for good.
    items: LogLimit,
    /// Something was replaced in a text.
    texts: LogLimit,
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

    async fn answer(
        &self,
        request: Request<Incoming>,
        connection: ConnectionId,
        peer: SocketAddr,
    ) -> Response<Body> {
        self.respond(request, connection, peer).await
    }
}

impl GrpcHandler {
    pub(crate) fn new(
        config: &ReceiverConfig,
        ingress: Arc<dyn Ingress>,
        auth: Option<Authenticator>,
        shutdown: Shutdown,
        stats: Arc<ReceiverStats>,
        protocol_log: Arc<ProtocolLog>,
        endpoint: SocketAddr,
    ) -> Self {
        Self {
            ingress,
            auth,
            max_recv_msg_size: config.max_recv_msg_size,
            budget: Budget::new(config.max_in_flight_bytes, config.max_recv_msg_size),
            admission: AdmissionSlots::new(),
            health: Health::new(),
            shutdown,
            stats,
            protocol_log,
            log_limits: LogLimits::default(),
            endpoint,
        }
    }

    /// Reports that nothing is served any more, also to clients that watch.
    pub(crate) async fn stop_health(&self) {
        self.health.stop().await;
    }

    async fn respond<B: RequestBody>(
        &self,
        request: Request<B>,
        connection: ConnectionId,
        peer: SocketAddr,
    ) -> Response<Body> {
        if request.uri().path().starts_with(HEALTH) {
            return self.health(request).await;
        }
        if let Some(code) = headers::not_grpc(&request) {
            self.protocol_log.record(WrongProtocol::NotGrpc, peer);
            return response::not_grpc(code);
        }
        let (head, mut body) = request.into_parts();
        match self.export(&head, &mut body, connection).await {
            Ok((signal, accepted)) => {
                self.stats.count_answer(Code::Ok);
                if !accepted.refused.is_empty() || !accepted.replaced.is_empty() {
                    self.log_items(&accepted, peer);
                }
                response::ok(signal, &accepted)
            }
            Err(status) => {
                self.log_refusal(&status, peer);
                // A sender that was too slow, or that has little time, is not waited for again.
                let is_late = status.code() == Code::DeadlineExceeded;
                if !is_late && !self.shutdown.is_draining() && !body.is_end_stream() {
                    let _late = timeout(DISCARD_LIMIT, request::discard(body, DISCARD_BYTES)).await;
                }
                self.stats.count_answer(status.code());
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
        // This comes first, so that clients that are not admitted learn nothing, and nothing of theirs is kept.
        if let Some(auth) = &self.auth {
            let admitted = auth.admit(&head.headers).await;
            admitted.map_err(status::denied)?;
        }
        headers::is_protobuf(&head.headers)?;
        let signal = self.route(head.uri.path())?;
        let compression = headers::encoding(&head.headers)?;
        if self.shutdown.is_draining() {
            return Err(status::request_error(&RequestError::Draining, None));
        }
        let mut lease = self.budget.lease(connection);
        let read = request::read(
            body,
            compression,
            self.max_recv_msg_size,
            &mut lease,
            &self.stats,
        );
        let bytes = tokio::select! {
            read = timeout(READ_LIMIT, read) => read.unwrap_or(Err(RequestError::Slow)),
            () = self.draining_for(READ_LIMIT_DRAINING) => Err(RequestError::Draining),
        };
        let bytes = bytes.map_err(|why| self.request_error(&why, signal))?;
        let slots = self.ingress.concurrency_limit(signal);
        let slot = self.admission.acquire(signal, connection, slots).await;
        let slot = slot.map_err(|why| self.request_error(&why, signal))?;
        let offered = self.ingress.offer(signal, bytes).await;
        drop((slot, lease));
        let accepted = offered.map_err(|why| status::refused(&why))?;
        Ok((signal, accepted))
    }

    /// Logs what is wrong with a sender's items, because the operator may never look at the
    /// sender's log.
    #[cold]
    fn log_items(&self, accepted: &Acceptance, peer: SocketAddr) {
        let (endpoint, refused, replaced) = (self.endpoint, &accepted.refused, &accepted.replaced);
        if !refused.is_empty()
            && let Some(repeated) = self.log_limits.items.due()
        {
            let items = refused.count;
            warn!(%endpoint, %peer, items, why = %refused, repeated, "invalid items refused");
        }
        if !replaced.is_empty()
            && let Some(repeated) = self.log_limits.texts.due()
        {
            let texts = replaced.count;
            warn!(%endpoint, %peer, texts, place = %replaced, repeated, "text that is not UTF-8 replaced");
        }
    }

    fn log_refusal(&self, status: &Status, peer: SocketAddr) {
        let (endpoint, code, error) = (self.endpoint, status.code(), status.message());
        debug!(%peer, reason = ?code, error, "request refused");
        let for_good = matches!(
            code,
            Code::InvalidArgument | Code::ResourceExhausted | Code::Unimplemented
        );
        if for_good && let Some(repeated) = self.log_limits.requests.due() {
            warn!(%endpoint, %peer, reason = ?code, error, repeated, "request refused for good");
        }
    }

    fn request_error(&self, why: &RequestError, signal: Signal) -> Status {
        let is_full = matches!(why, RequestError::Busy | RequestError::Crowded);
        status::request_error(why, is_full.then(|| self.ingress.turned_away(signal)))
    }

    fn route(&self, path: &str) -> Result<Signal, Status> {
        let Some(signal) = Signal::from_export_path(path) else {
            return Err(Status::unimplemented(format!(
                "unknown method \"{}\": this port takes {}",
                excerpt(path),
                method::NAMES
            )));
        };
        if self.ingress.carries(signal) {
            return Ok(signal);
        }
        Err(Status::unimplemented(format!(
            "no pipeline takes this signal: unknown service {}",
            method::service(signal)
        )))
    }

    async fn draining_for(&self, time: Duration) {
        self.shutdown.draining().await;
        sleep(time).await;
    }

    async fn health<B: RequestBody>(&self, request: Request<B>) -> Response<Body> {
        let answer = self.health.answer(request, self.ingress.as_ref());
        let Ok(response) = timeout(HEALTH_LIMIT, answer).await else {
            return status::request_error(&RequestError::Slow, None).into_http();
        };
        response.map(|body| Body::new(HealthBody::new(body, &self.shutdown)))
    }
}

#[cfg(test)]
mod tests;
