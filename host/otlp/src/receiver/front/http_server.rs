//! Serves the requests of connections, by HTTP/2 and by HTTP/1.1, until each connection ends: by age,
//! by idleness, in the drain, or by its client.

mod streams;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Request, Response, header};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rand::Rng;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::sleep;
use tonic::body::Body;
use tracing::debug;

use self::streams::Streams;
use super::activity::{Activity, CountedBody};
use super::connection_limit::ConnectionSlot;
use super::fair::ConnectionId;
use super::handler::RequestHandler;
use super::http1_stream::{HEAD_BYTES, Http1Stream};
use super::preface::{FirstBytes, GuardedStream};
use super::shutdown::Shutdown;
use crate::receiver::settings::{ConnectionSettings, Http1Settings};

/// The time that a connection may go on after a hand-over, for one more request: a client that has
/// something to send does so within one round trip.
const ONE_MORE_LIMIT: Duration = Duration::from_secs(1);

/// The largest frame: a usual batch is one frame, and is then not copied on its way in.
const FRAME_BYTES: u32 = 1 << 20;

/// The bytes that a client may send ahead on one request: 1 MiB each 50 ms are 20 MB/s for a client
/// that far away, and in one site (1 ms) more than its network carries.
const STREAM_WINDOW: u32 = 1 << 20;

/// The bytes that a client may send ahead on one connection. Four requests at once that each fit
/// one frame then arrive as one frame each, and are not copied: that saves a sixth of the cost of a
/// span. An unread connection can also take as much of our memory beside the budget, so only the
/// first connections get this window.
const WIDE_WINDOW: u32 = 4 << 20;
/// The window of the connections after those: one request may use all of it.
const NARROW_WINDOW: u32 = 1 << 20;
/// The number of connections that get the wide window: 1 GiB if all of them are stuffed at once. A
/// collector with more clients than this has requests enough at once without it.
const WIDE_CONNECTIONS: usize = 256;

/// Returns the window of one more connection beside `open` others.
pub(crate) const fn window(open: usize) -> u32 {
    if open < WIDE_CONNECTIONS {
        WIDE_WINDOW
    } else {
        NARROW_WINDOW
    }
}

/// The most bytes of all headers of a request: tokens and trace context fit many times. h2 answers
/// more with 431, and ends the connection at a multiple of it, and at the sixth CONTINUATION of a
/// request.
const HEADER_BYTES: u32 = 16 << 10;

/// The most requests that a client may give up before they could be looked at; h2 ends the
/// connection then. gRPC clients do so when a deadline passes at that very moment, but not twenty
/// times at once.
const GIVEN_UP_UNSEEN: usize = 20;

/// The most streams that end for a mistake of the client, in the life of a connection. A client
/// that does not know the limit on streams yet may open some hundreds too many.
const MISTAKES: usize = 1024;

/// The most bytes that are buffered for a client that does not read: answers are a few bytes.
const SEND_BYTES: usize = 64 << 10;

/// The most bytes that a connection of HTTP/1.1 reads ahead. A larger buffer would save a copy for
/// bodies that fit, but an idle slice of it keeps all of it.
const HTTP1_BUFFER_BYTES: usize = 256 << 10;

/// Serves the requests of connections.
#[derive(Debug)]
pub(crate) struct HttpServer<H> {
    handler: Arc<H>,
    settings: ConnectionSettings,
    shutdown: Shutdown,
    streams: Streams,
}

impl<H: RequestHandler> HttpServer<H> {
    pub(crate) fn new(handler: Arc<H>, settings: ConnectionSettings, shutdown: Shutdown) -> Self {
        Self {
            handler,
            settings,
            shutdown,
            streams: Streams::default(),
        }
    }

    /// Ends the requests of HTTP/2 that still run, and returns when they have ended. Those of
    /// HTTP/1.1 end with their connections.
    pub(crate) async fn cut_requests(&self) {
        self.streams.cut().await;
    }

    /// Serves a connection of HTTP/2 to its end.
    pub(crate) async fn serve_http2<T>(
        &self,
        stream: GuardedStream<T>,
        peer: SocketAddr,
        slot: &ConnectionSlot,
    ) where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let client = Client::new(&self.handler, peer, slot);
        let service = service_fn(move |request| client.clone().answer(request));
        let connection = self
            .http2(window(slot.before))
            .serve_connection(TokioIo::new(stream), service);
        let end = |connection: Pin<&mut http2::Connection<_, _, _>>| connection.graceful_shutdown();
        let leaving = self.leaving(&slot.activity, false);
        self.run(pin!(connection), end, leaving, peer, &slot.activity)
            .await;
    }

    /// Serves a connection of HTTP/1.1, of which these bytes were read, to its end.
    pub(crate) async fn serve_http1<T>(
        &self,
        (first, stream): (FirstBytes, T),
        settings: Http1Settings,
        peer: SocketAddr,
        slot: &ConnectionSlot,
    ) where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let limits = [settings.head_limit, self.settings.write_limit];
        let stream = Http1Stream::new(first, stream, slot.activity.clone(), limits);
        let gate = stream.gate();
        let client = Client::new(&self.handler, peer, slot);
        let leaving = self.shutdown.clone();
        let service = service_fn(move |request| {
            let (gate, leaving) = (gate.clone(), leaving.clone());
            // The request begins with its head. The bytes that follow are not those of another head.
            let answering = client.clone().answer_http1(request, leaving);
            async move {
                // A client that sends request after request and reads no answer is not answered.
                gate.open().await;
                answering.await
            }
        });
        let connection = http1::Builder::new()
            .keep_alive(settings.keep_alive)
            .max_buf_size(HTTP1_BUFFER_BYTES)
            .max_header_size(HEAD_BYTES)
            .serve_connection(TokioIo::new(stream), service);
        let end = |connection: Pin<&mut http1::Connection<_, _>>| connection.graceful_shutdown();
        let leaving = self.leaving(&slot.activity, true);
        self.run(pin!(connection), end, leaving, peer, &slot.activity)
            .await;
    }

    /// Runs a connection to its end. `end` asks it to end, at the latest when `leaving` resolves.
    async fn run<C: Future<Output = hyper::Result<()>>>(
        &self,
        mut connection: Pin<&mut C>,
        end: impl Fn(Pin<&mut C>),
        leaving: impl Future<Output = ()>,
        peer: SocketAddr,
        activity: &Activity,
    ) {
        let keepalive = &self.settings.keepalive;
        let reason = tokio::select! {
            ended = connection.as_mut() => return log_end(peer, ended),
            () = leaving => "drain",
            () = age(keepalive.max_connection_age) => "age",
            () = activity.idle(keepalive.max_connection_idle) => "idle",
            () = activity.untaken() => return log_cut(peer, "untaken"),
        };
        debug!(%peer, reason, "connection asked to end");
        end(connection.as_mut());
        let grace = match reason {
            "age" => keepalive.max_connection_age_grace,
            // The drain has its own limit, and an idle connection has nothing to wait for.
            _ => None,
        };
        tokio::select! {
            ended = connection.as_mut() => log_end(peer, ended),
            () = after(grace) => log_cut(peer, reason),
            () = activity.untaken() => log_cut(peer, "untaken"),
        }
    }

    /// Resolves when the client is to be told to go away because the receiver ends. At a hand-over, a
    /// client may send one more request first, if it does so soon: one of HTTP/2 that has only just
    /// made its connection, and any of HTTP/1.1, which can only be told with an answer. Otherwise it
    /// would see that request fail.
    async fn leaving(&self, activity: &Activity, tells_with_answers: bool) {
        self.shutdown.leaving().await;
        let awaited = match activity.begun() {
            (begun, false) if tells_with_answers => begun,
            _ => 0,
        };
        tokio::select! {
            () = self.shutdown.draining() => {}
            () = activity.more_than(awaited) => {}
            () = sleep(ONE_MORE_LIMIT) => {}
        }
    }

    fn http2(&self, window: u32) -> http2::Builder<Streams> {
        let mut http2 = http2::Builder::new(self.streams.clone());
        http2
            .timer(TokioTimer::new())
            .max_concurrent_streams(self.settings.max_concurrent_streams)
            .max_frame_size(FRAME_BYTES)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(window)
            .max_header_list_size(HEADER_BYTES)
            .max_pending_accept_reset_streams(GIVEN_UP_UNSEEN)
            .max_local_error_reset_streams(MISTAKES)
            .max_send_buf_size(SEND_BYTES)
            .keep_alive_interval(self.settings.keepalive.time)
            .keep_alive_timeout(self.settings.keepalive.timeout);
        http2
    }
}

/// The client of one connection.
#[derive(Debug)]
struct Client<H> {
    handler: Arc<H>,
    peer: SocketAddr,
    id: ConnectionId,
    activity: Activity,
}

impl<H> Clone for Client<H> {
    fn clone(&self) -> Self {
        Self {
            handler: Arc::clone(&self.handler),
            activity: self.activity.clone(),
            ..*self
        }
    }
}

impl<H: RequestHandler> Client<H> {
    fn new(handler: &Arc<H>, peer: SocketAddr, slot: &ConnectionSlot) -> Self {
        Self {
            handler: Arc::clone(handler),
            peer,
            id: slot.id,
            activity: slot.activity.clone(),
        }
    }

    /// Answers a request, which is open until its answer is handed over.
    fn answer(
        self,
        request: Request<Incoming>,
    ) -> impl Future<Output = Result<Response<Body>, Infallible>> + Send {
        let purpose = self.handler.purpose(request.uri().path());
        let mut open = self.activity.begin(purpose);
        async move {
            let response = self.handler.answer(request, self.id, self.peer).await;
            open.answered();
            Ok(response.map(|body| Body::new(CountedBody::new(body, open))))
        }
    }

    /// Answers a request of HTTP/1.1. An answer that closes the connection leaves unread what the
    /// client still sends. Once the receiver ends, every answer closes its connection.
    fn answer_http1(
        self,
        request: Request<Incoming>,
        shutdown: Shutdown,
    ) -> impl Future<Output = Result<Response<Body>, Infallible>> + Send {
        let activity = self.activity.clone();
        let answering = self.answer(request);
        async move {
            let Ok(mut response) = answering.await;
            if response.headers().contains_key(header::CONNECTION) {
                activity.abandon();
            } else if shutdown.is_leaving() {
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(header::CONNECTION, close);
            }
            Ok(response)
        }
    }
}

/// Resolves at the age limit, a tenth more or less, so that clients that came together do not all
/// come back together.
async fn age(limit: Option<Duration>) {
    let factor = rand::rng().random_range(0.9..1.1);
    after(limit.map(|limit| limit.mul_f64(factor))).await;
}

async fn after(time: Option<Duration>) {
    match time {
        Some(time) => sleep(time).await,
        None => std::future::pending().await,
    }
}

fn log_cut(peer: SocketAddr, reason: &str) {
    debug!(%peer, reason, "connection cut");
}

fn log_end(peer: SocketAddr, ended: hyper::Result<()>) {
    if let Err(error) = ended {
        debug!(%peer, error = &error as &dyn std::error::Error, "connection ended with an error");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The memory that unread connections can take together is bounded: only few get the wide
    /// window.
    #[test]
    fn windows_are_bounded_together() {
        let stuffed: u64 = (0..4096).map(|open| u64::from(window(open))).sum();
        assert!(window(0) >= 4 * FRAME_BYTES, "four usual batches at once");
        assert!(window(4095) >= STREAM_WINDOW, "one request is never stuck");
        assert!(stuffed < 5 << 30, "{stuffed}");
    }
}
