//! From the headers of a request to its answer.

use std::convert::Infallible;
use std::error::Error;
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
use tracing::debug;

use super::budget::Budget;
use super::fair::Connection;
use super::health::Health;
use super::place::Places;
use super::{ReceiverStats, request};
use crate::auth::Authenticator;
use crate::compression::{ACCEPTED, Compression};
use crate::method;
use crate::prefix::Prefix;
use crate::status::{self, Unread};

/// How long the bytes of a request may take to arrive: three times an SDK's own patience with the
/// whole export. Without a limit, slow senders could hold the memory for requests for ever.
const READ_LIMIT: Duration = Duration::from_secs(30);

/// How long the bytes of a request that nobody will read may take, and how many they may be: as many
/// as a client may have sent before it can know. They are waited for, because streams that end too
/// early are thrown away by the client, or count as its mistakes, and both end the connection when
/// they are many.
const DISCARD_LIMIT: Duration = Duration::from_secs(2);
const DISCARD_BYTES: usize = 4 << 20;

/// How long they may take once the receiver is stopping, so that the answer arrives inside the five
/// seconds that an application has for its last flush.
const READ_LIMIT_DRAINING: Duration = Duration::from_secs(2);

/// How long a request for health may take to arrive: it is a few bytes, and from anybody.
const HEALTH_LIMIT: Duration = Duration::from_secs(5);

/// Of the methods of the health service.
pub(crate) const HEALTH: &str = "/grpc.health.v1.Health/";

/// The one whose answer goes on.
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

/// What every request of a receiver shares.
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
}

impl Answerer {
    /// Answers one request of this connection.
    pub(crate) async fn answer<B: RequestBody>(
        &self,
        request: Request<B>,
        connection: Connection,
    ) -> Response<Body> {
        if request.uri().path().starts_with(HEALTH) {
            return self.health(request).await;
        }
        if let Some(code) = not_grpc(&request) {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = code;
            return response;
        }
        let (head, mut body) = request.into_parts();
        match self.export(&head, &mut body, connection).await {
            Ok(accepted) => {
                self.stats.answered(Code::Ok);
                ok(accepted)
            }
            Err(status) => {
                debug!(reason = ?status.code(), error = status.message(), "request refused");
                // Who was too slow, or has little time, is not waited for again.
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
    ) -> Result<Accepted, Status> {
        // First of all, so that strangers learn nothing and nothing of theirs is kept.
        if let Some(auth) = &self.auth {
            let admitted = auth.admit(&head.headers).await;
            admitted.map_err(status::denied)?;
        }
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
        let places = self.ingress.places(signal);
        let place = self.places.place(signal, connection, places).await;
        let place = place.map_err(|why| self.unread(&why, signal))?;
        let offered = self.ingress.offer(signal, bytes).await;
        drop((place, lease));
        offered.map_err(|why| status::refused(&why))
    }

    fn unread(&self, why: &Unread, signal: Signal) -> Status {
        let is_full = matches!(why, Unread::Busy | Unread::Crowded);
        status::unread(why, is_full.then(|| self.ingress.turned_away(signal)))
    }

    fn route(&self, path: &str) -> Result<Signal, Status> {
        let Some(signal) = method::signal(path) else {
            return Err(Status::unimplemented("no such method"));
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

/// What is wrong with a request that no gRPC client sends, in terms of HTTP.
fn not_grpc<B>(request: &Request<B>) -> Option<StatusCode> {
    if request.method() != Method::POST {
        return Some(StatusCode::METHOD_NOT_ALLOWED);
    }
    let kind = request.headers().get(header::CONTENT_TYPE);
    match kind.map(HeaderValue::as_bytes) {
        Some(b"application/grpc" | b"application/grpc+proto") => None,
        _ => Some(StatusCode::UNSUPPORTED_MEDIA_TYPE),
    }
}

fn encoding(headers: &HeaderMap) -> Result<Compression, Status> {
    match headers.get("grpc-encoding") {
        None => Ok(Compression::None),
        Some(name) => Compression::named(name.as_bytes())
            .ok_or_else(|| Status::unimplemented("this grpc-encoding is not supported")),
    }
}

/// OK, with the empty response that means full success for every signal, or with what is not.
fn ok(accepted: Accepted) -> Response<Body> {
    const EMPTY: &[u8] = &[0; crate::prefix::LENGTH];
    let message = status::partial_success(accepted).and_then(|message| {
        debug!(spans = accepted.invalid_spans, "invalid spans refused");
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

/// A health watch, which would last for ever, until connections are told to go away: then what is
/// ready is still sent, which is that nothing is served any more, if nobody takes over.
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
