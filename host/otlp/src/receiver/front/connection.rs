//! The life of one connection: handshake, requests, and its end by age, idleness, or the drain.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rand::Rng;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::body::Body;
use tracing::debug;

use super::activity::{Activity, CountedBody};
use super::connection_limit::ConnectionSlot;
use super::handler::RequestHandler;
use super::preface::{GuardedStream, Preface};
use super::protocol_log::ProtocolLog;
use super::shutdown::Shutdown;
use super::stats::ConnectionStats;
use super::tls::Certificates;
use super::wrong_protocol::{self, Protocol, WrongProtocol};
use crate::receiver::settings::{Keepalive, ReceiverConfig};

/// The time that a client may take for the TLS handshake, and then for the first bytes of HTTP/2.
/// Real clients send both at once.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(5);

/// The time that a connection that has had no request yet may go on after a hand-over: a client
/// that has something to send does so within one round trip.
const FIRST_REQUEST_LIMIT: Duration = Duration::from_secs(1);

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

/// The connections of a receiver: the state that all of them share.
#[derive(Debug)]
pub(crate) struct Connections<H> {
    handler: Arc<H>,
    max_concurrent_streams: u32,
    keepalive: Keepalive,
    tls: Option<Certificates>,
    shutdown: Shutdown,
    stats: Arc<ConnectionStats>,
    protocol_log: Arc<ProtocolLog>,
    streams: Streams,
}

impl<H: RequestHandler> Connections<H> {
    pub(crate) fn new(
        config: &ReceiverConfig,
        tls: Option<Certificates>,
        handler: Arc<H>,
        shutdown: Shutdown,
        stats: Arc<ConnectionStats>,
        protocol_log: Arc<ProtocolLog>,
    ) -> Self {
        Self {
            handler,
            max_concurrent_streams: config.max_concurrent_streams,
            keepalive: config.keepalive,
            tls,
            shutdown,
            stats,
            protocol_log,
            streams: Streams::default(),
        }
    }

    pub(super) fn stats(&self) -> &ConnectionStats {
        &self.stats
    }

    /// Ends the requests that still run, and returns when they have ended.
    pub(crate) async fn cut_requests(&self) {
        self.streams.cut.cancel();
        self.streams.tasks.close();
        self.streams.tasks.wait().await;
    }

    /// Serves one connection to its end.
    pub(super) async fn run(&self, stream: TcpStream, peer: SocketAddr, slot: ConnectionSlot) {
        let _open = self.stats.count_open();
        let opened = tokio::select! {
            opened = self.open(stream, peer, &slot) => opened,
            () = slot.evicted.cancelled() => {
                debug!(%peer, "idle connection closed to make room for another");
                return;
            }
        };
        if let Err(error) = opened {
            self.stats.count_failure();
            debug!(%peer, error = &error as &dyn std::error::Error, "connection failed");
        }
    }

    async fn open(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        slot: &ConnectionSlot,
    ) -> io::Result<()> {
        // Answers are small and awaited: they must not wait for more to be sent with them.
        stream.set_nodelay(true)?;
        match &self.tls {
            None => self.greet(stream, peer, slot).await,
            Some(tls) => {
                let begins_tls = tokio::select! {
                    begins = in_time(begins_tls(&stream)) => begins?,
                    () = self.shutdown.draining() => return Ok(()),
                };
                if !begins_tls {
                    return self.turn_away_plain(stream, peer).await;
                }
                let accepting = TlsAcceptor::from(tls.current()).accept(stream);
                let accepted = tokio::select! {
                    accepted = in_time(accepting) => accepted,
                    () = self.shutdown.draining() => return Ok(()),
                };
                if let Err(error) = &accepted
                    && error.kind() == io::ErrorKind::InvalidData
                {
                    self.protocol_log.record_handshake(error, peer);
                }
                self.greet(accepted?, peer, slot).await
            }
        }
    }

    /// Turns away a client that does not begin with TLS where it should.
    async fn turn_away_plain(&self, stream: TcpStream, peer: SocketAddr) -> io::Result<()> {
        let preface = tokio::select! {
            preface = in_time(Preface::read(stream)) => preface?,
            () = self.shutdown.draining() => return Ok(()),
        };
        match preface {
            Preface::Http2(stream) => {
                let protocol = Protocol::Http2;
                self.turn_away(protocol, true, stream.into_inner(), peer)
                    .await;
            }
            Preface::Other(protocol, stream) => {
                self.turn_away(protocol, true, stream, peer).await;
            }
        }
        Ok(())
    }

    /// Counts a client of another protocol, names it in the log, and answers it.
    async fn turn_away<T>(&self, protocol: Protocol, has_tls: bool, stream: T, peer: SocketAddr)
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let Some(wrong) = WrongProtocol::new(protocol, has_tls) else {
            return;
        };
        self.stats.count_failure();
        self.protocol_log.record(wrong, peer);
        tokio::select! {
            () = wrong.farewell(stream) => {}
            () = self.shutdown.draining() => {}
        }
    }

    async fn greet<T>(&self, stream: T, peer: SocketAddr, slot: &ConnectionSlot) -> io::Result<()>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let preface = tokio::select! {
            preface = in_time(Preface::read(stream)) => preface?,
            () = self.shutdown.draining() => return Ok(()),
        };
        match preface {
            Preface::Http2(stream) => self.serve(stream, peer, slot).await,
            Preface::Other(protocol, stream) => {
                self.turn_away(protocol, false, stream, peer).await;
            }
        }
        Ok(())
    }

    async fn serve<T>(&self, stream: GuardedStream<T>, peer: SocketAddr, slot: &ConnectionSlot)
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let activity = &slot.activity;
        let service = service_fn(|request: Request<Incoming>| {
            let mut open = activity.begin(self.handler.purpose(request.uri().path()));
            let handler = Arc::clone(&self.handler);
            let id = slot.id;
            async move {
                let response = handler.answer(request, id, peer).await;
                open.answered();
                Ok::<_, Infallible>(response.map(|body| Body::new(CountedBody::new(body, open))))
            }
        });
        let connection = self
            .http2(window(slot.before))
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = pin!(connection);
        let reason = tokio::select! {
            ended = connection.as_mut() => return log_end(peer, ended),
            () = self.leaving(activity) => "drain",
            () = age(self.keepalive.max_connection_age) => "age",
            () = activity.idle(self.keepalive.max_connection_idle) => "idle",
            () = activity.untaken() => return log_cut(peer, "untaken"),
        };
        debug!(%peer, reason, "connection asked to end");
        connection.as_mut().graceful_shutdown();
        let grace = match reason {
            "age" => self.keepalive.max_connection_age_grace,
            // The drain has its own limit, and an idle connection has nothing to wait for.
            _ => None,
        };
        tokio::select! {
            ended = connection.as_mut() => log_end(peer, ended),
            () = after(grace) => log_cut(peer, reason),
            () = activity.untaken() => log_cut(peer, "untaken"),
        }
    }

    /// Resolves when the client is to be told to go away because the receiver ends. A client that
    /// came just before a hand-over may send its first request first. Otherwise it would see that
    /// request fail, on a connection that it has only just made.
    async fn leaving(&self, activity: &Activity) {
        self.shutdown.leaving().await;
        tokio::select! {
            () = self.shutdown.draining() => {}
            () = activity.first() => {}
            () = sleep(FIRST_REQUEST_LIMIT) => {}
        }
    }

    fn http2(&self, window: u32) -> http2::Builder<Streams> {
        let mut http2 = http2::Builder::new(self.streams.clone());
        http2
            .timer(TokioTimer::new())
            .max_concurrent_streams(self.max_concurrent_streams)
            .max_frame_size(FRAME_BYTES)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(window)
            .max_header_list_size(HEADER_BYTES)
            .max_pending_accept_reset_streams(GIVEN_UP_UNSEEN)
            .max_local_error_reset_streams(MISTAKES)
            .max_send_buf_size(SEND_BYTES)
            .keep_alive_interval(self.keepalive.time)
            .keep_alive_timeout(self.keepalive.timeout);
        http2
    }
}

/// Runs the requests of all connections. They are counted, and ended together when the drain's
/// grace is over.
#[derive(Clone, Debug, Default)]
struct Streams {
    tasks: TaskTracker,
    cut: CancellationToken,
}

impl<F> Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        let cut = self.cut.clone();
        self.tasks.spawn(async move {
            cut.run_until_cancelled(stream).await;
        });
    }
}

/// Returns true if a client begins a TLS handshake. Looks at its first byte and leaves it unread.
async fn begins_tls(stream: &TcpStream) -> io::Result<bool> {
    let mut first = [0];
    match stream.peek(&mut first).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(first == [wrong_protocol::TLS]),
    }
}

async fn in_time<T>(handshake: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(HANDSHAKE_LIMIT, handshake)
        .await
        .unwrap_or_else(|late| Err(late.into()))
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
