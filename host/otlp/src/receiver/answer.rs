//! Answers requests, from the headers to the response.

use std::convert::Infallible;
use std::error::Error;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::{Body as HttpBody, Frame};
use http_body_util::{BodyExt, Full};
use spandrel_pipeline::ingress::{Accepted, Ingress};
use spandrel_wire::Signal;
use tokio::time::{sleep, timeout};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::body::Body;
use tonic::{Code, Status};
use tracing::{debug, warn};

use super::budget::Budget;
use super::fair::Connection;
use super::health::Health;
use super::place::Places;
use super::seldom::Seldom;
use super::stranger::{Stranger, Strangers};
use super::{ReceiverStats, request};
use crate::auth::Authenticator;
use crate::compression::{ACCEPTED, Compression};
use crate::method;
use crate::prefix::Prefix;
use crate::status::{self, Unread};

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
pub(crate) const HEALTH: &str = "/grpc.health.v1.Health/";

/// The path of the health method whose answer goes on.
pub(crate) const WATCH: &str = "/grpc.health.v1.Health/Watch";

const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");

/// The body of a request: hyper's, or a test's.
pub(crate) trait RequestBody:
    HttpBody<Data = Bytes, Error: Error + Send + Sync> + Send + Unpin + 'static
{
}

impl<B> RequestBody for B where
    B: HttpBody<Data = Bytes, Error: Error + Send + Sync> + Send + Unpin + 'static
{
}

/// The state that all requests of a receiver share.
#[derive(Debug)]
pub(crate) struct Answerer {
    pub(crate) ingress: Arc<dyn Ingress>,
    pub(crate) auth: Option<Authenticator>,
    pub(crate) max_recv_msg_size: usize,
    pub(crate) budget: Budget,
    pub(crate) places: Places,
    pub(crate) health: Health,
    /// Cancelled when the receiver stops or hands over: connections are told to go away.
    pub(crate) leaving: CancellationToken,
    /// Cancelled when it stops and nobody takes over: requests are refused.
    pub(crate) draining: CancellationToken,
    pub(crate) stats: Arc<ReceiverStats>,
    pub(crate) strangers: Strangers,
    pub(crate) lines: Lines,
    /// The address on which the receiver listens.
    pub(crate) endpoint: SocketAddr,
}

/// Decides when the log gets a line about an answer to a sender.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    /// A request is refused for good.
    requests: Seldom,
    /// Items of a request are refused for good.
    items: Seldom,
    /// Something was replaced in a text.
    texts: Seldom,
}

impl Answerer {
    /// Answers one request of this connection, whose client is `peer`.
    pub(crate) async fn answer<B: RequestBody>(
        &self,
        request: Request<B>,
        connection: Connection,
        peer: SocketAddr,
    ) -> Response<Body> {
        if request.uri().path().starts_with(HEALTH) {
            return self.health(request).await;
        }
        if let Some(code) = not_grpc(&request) {
            self.stats.stranger(Stranger::NotGrpc);
            self.strangers.log(Stranger::NotGrpc, peer, self.endpoint);
            return told_in_http(code);
        }
        let (head, mut body) = request.into_parts();
        match self.export(&head, &mut body, connection).await {
            Ok((signal, accepted)) => {
                self.stats.answered(Code::Ok);
                if !accepted.refused.is_empty() || !accepted.replaced.is_empty() {
                    self.log_items(&accepted, peer);
                }
                ok(signal, &accepted)
            }
            Err(status) => {
                self.log_refusal(&status, peer);
                // A sender that was too slow, or that has little time, is not waited for again.
                let is_late = status.code() == Code::DeadlineExceeded;
                if !is_late && !self.draining.is_cancelled() && !body.is_end_stream() {
                    let _late = timeout(DISCARD_LIMIT, request::discard(body, DISCARD_BYTES)).await;
                }
                self.stats.answered(status.code());
                let mut response = status.into_http();
                if code_of(&response) == Some(Code::Unimplemented) {
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
        connection: Connection,
    ) -> Result<(Signal, Accepted), Status> {
        // This comes first, so that strangers learn nothing and nothing of theirs is kept.
        if let Some(auth) = &self.auth {
            let admitted = auth.admit(&head.headers).await;
            admitted.map_err(status::denied)?;
        }
        is_protobuf(&head.headers)?;
        let signal = self.route(head.uri.path())?;
        let compression = encoding(&head.headers)?;
        if self.draining.is_cancelled() {
            return Err(status::unread(&Unread::Draining, None));
        }
        if self.places.is_hopeless(signal, connection) {
            return Err(self.unread(&Unread::Crowded, signal));
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
            read = timeout(READ_LIMIT, read) => read.unwrap_or(Err(Unread::Slow)),
            () = self.draining_for(READ_LIMIT_DRAINING) => Err(Unread::Draining),
        };
        let bytes = bytes.map_err(|why| self.unread(&why, signal))?;
        let limit = self.ingress.concurrency_limit(signal);
        let place = self.places.place(signal, connection, limit).await;
        let place = place.map_err(|why| self.unread(&why, signal))?;
        let offered = self.ingress.offer(signal, bytes).await;
        drop((place, lease));
        let accepted = offered.map_err(|why| status::refused(&why))?;
        Ok((signal, accepted))
    }

    /// Logs what is wrong with a sender's items, because the operator may never look at the
    /// sender's log.
    #[cold]
    fn log_items(&self, accepted: &Accepted, peer: SocketAddr) {
        let (endpoint, refused, replaced) = (self.endpoint, &accepted.refused, &accepted.replaced);
        if !refused.is_empty()
            && let Some(repeated) = self.lines.items.due()
        {
            let items = refused.count;
            warn!(%endpoint, %peer, items, why = %refused, repeated, "invalid items refused");
        }
        if !replaced.is_empty()
            && let Some(repeated) = self.lines.texts.due()
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
        if for_good && let Some(repeated) = self.lines.requests.due() {
            warn!(%endpoint, %peer, reason = ?code, error, repeated, "request refused for good");
        }
    }

    fn unread(&self, why: &Unread, signal: Signal) -> Status {
        let is_full = matches!(why, Unread::Busy | Unread::Crowded);
        status::unread(why, is_full.then(|| self.ingress.turned_away(signal)))
    }

    fn route(&self, path: &str) -> Result<Signal, Status> {
        let Some(signal) = method::signal(path) else {
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
        self.draining.cancelled().await;
        sleep(time).await;
    }

    async fn health<B: RequestBody>(&self, request: Request<B>) -> Response<Body> {
        let answer = self.health.answer(request, self.ingress.as_ref());
        let Ok(response) = timeout(HEALTH_LIMIT, answer).await else {
            return status::unread(&Unread::Slow, None).into_http();
        };
        response.map(|body| {
            Body::new(UntilLeaving {
                body,
                leaving: Box::pin(self.leaving.clone().cancelled_owned()),
                ended: false,
            })
        })
    }
}

/// Returns the HTTP status for a request that no gRPC client sends; `None` for a gRPC request.
fn not_grpc<B>(request: &Request<B>) -> Option<StatusCode> {
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

fn is_protobuf(headers: &HeaderMap) -> Result<(), Status> {
    match codec(headers) {
        None | Some(b"" | b"+proto") => Ok(()),
        Some(other) => Err(Status::unimplemented(format!(
            "messages in the encoding \"{}\" are not supported: send protobuf, with the content-type \
             application/grpc",
            excerpt(&String::from_utf8_lossy(other))
        ))),
    }
}

/// Returns the answer to a client of HTTP/2 that does not speak gRPC.
fn told_in_http(code: StatusCode) -> Response<Body> {
    let text = format!("{}\n", Stranger::NotGrpc.remedy());
    let mut response = Response::new(Body::new(Full::new(Bytes::from(text))));
    *response.status_mut() = code;
    let headers = response.headers_mut();
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    headers.insert(header::CONTENT_TYPE, plain);
    if code == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(header::ALLOW, HeaderValue::from_static("POST"));
    }
    response
}

fn encoding(headers: &HeaderMap) -> Result<Compression, Status> {
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
fn excerpt(text: &str) -> &str {
    /// The path of an OTLP method has 66 bytes.
    const LONGEST: usize = 80;
    text.get(..text.floor_char_boundary(LONGEST))
        .unwrap_or(text)
}

/// Returns OK, with the empty response that means full success for every signal, or with the
/// refused items.
fn ok(signal: Signal, accepted: &Accepted) -> Response<Body> {
    const EMPTY: &[u8] = &[0; crate::prefix::LENGTH];
    let message = status::partial_success(signal, accepted).and_then(|message| {
        let prefix = Prefix {
            compressed: false,
            length: message.len(),
        };
        Some(Bytes::from([&prefix.encode()?[..], &message].concat()))
    });
    let body = Full::new(message.unwrap_or(Bytes::from_static(EMPTY)));
    let body = body.with_trailers(std::future::ready(Some(Ok::<_, Infallible>(trailers(
        Code::Ok,
    )))));
    let mut response = Response::new(Body::new(body));
    response.headers_mut().insert(header::CONTENT_TYPE, GRPC);
    response
}

fn trailers(code: Code) -> HeaderMap {
    let mut trailers = HeaderMap::with_capacity(1);
    trailers.insert("grpc-status", HeaderValue::from(i32::from(code)));
    trailers
}

fn code_of(response: &Response<Body>) -> Option<Code> {
    let code = response.headers().get("grpc-status")?;
    Some(Code::from_bytes(code.as_bytes()))
}

/// The answer to a health watch, which would last for ever. It ends when connections are told to go
/// away. Before it ends, it sends what is ready: that nothing is served any more, if no receiver
/// takes over.
struct UntilLeaving {
    body: Body,
    leaving: Pin<Box<WaitForCancellationFutureOwned>>,
    ended: bool,
}

impl HttpBody for UntilLeaving {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        if let Poll::Ready(frame) = pin!(&mut self.body).poll_frame(context) {
            return Poll::Ready(frame);
        }
        if self.leaving.poll_unpin(context).is_pending() {
            return Poll::Pending;
        }
        self.ended = true;
        Poll::Ready(Some(Ok(Frame::trailers(trailers(Code::Unavailable)))))
    }
}

#[cfg(test)]
mod tests;
