//! One connection to one address: TCP, TLS if it is wanted, HTTP/2, and a count of the bytes read.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::{Request, Response, Uri};
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tower::{ServiceExt, service_fn};

use super::ClientKeepalive;
use super::request::Chunks;
use super::tls::Tls;

pub(crate) type BoxError = Box<dyn Error + Send + Sync>;

/// The future that runs a connection; it must be polled until it ends.
pub(crate) type Driver = BoxFuture<'static, ()>;

/// Makes connections.
#[derive(Debug)]
pub(crate) struct Connector {
    pub(crate) timeout: Duration,
    pub(crate) keepalive: Option<ClientKeepalive>,
    /// The number of times that the interval between pings was doubled.
    pub(crate) doubled: AtomicU32,
    /// `None` for plain text.
    pub(crate) tls: Option<Tls>,
}

/// The most times that the interval between pings is doubled: 32 times the default is 16 minutes,
/// where the strictest servers allow a ping every five.
const MAX_DOUBLED: u32 = 5;

/// A connection. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    id: u64,
    requests: SendRequest<Chunks>,
    read: Arc<AtomicU64>,
}

impl Connection {
    pub(crate) async fn send(
        &mut self,
        request: Request<Chunks>,
    ) -> hyper::Result<Response<Incoming>> {
        self.requests.send_request(request).await
    }

    /// Returns the number of bytes read so far.
    pub(crate) fn read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.requests.is_closed()
    }

    pub(crate) fn is(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Connector {
    /// Doubles the interval between pings for connections made from now on, and returns it. Returns
    /// `None` if it is as long as it may be, or if no pings are sent.
    pub(crate) fn calm_down(&self) -> Option<Duration> {
        let more = |doubled: u32| (doubled < MAX_DOUBLED).then_some(doubled + 1);
        let relaxed = Ordering::Relaxed;
        self.doubled.fetch_update(relaxed, relaxed, more).ok()?;
        Some(self.keepalive()?.time)
    }

    fn keepalive(&self) -> Option<ClientKeepalive> {
        let times = 1 << self.doubled.load(Ordering::Relaxed).min(MAX_DOUBLED);
        self.keepalive.map(|keepalive| ClientKeepalive {
            time: keepalive.time.saturating_mul(times),
            ..keepalive
        })
    }

    /// Connects within the time that an attempt has.
    ///
    /// # Errors
    /// The address cannot be reached, or the peer there is not the one that is wanted.
    pub(crate) async fn connect(
        &self,
        address: SocketAddr,
    ) -> Result<(Connection, Driver), BoxError> {
        match tokio::time::timeout(self.timeout, self.establish(address)).await {
            Ok(connected) => connected,
            Err(_) => {
                let error = format!("{address} did not answer in {:?}", self.timeout);
                Err(io::Error::new(io::ErrorKind::TimedOut, error).into())
            }
        }
    }

    async fn establish(&self, address: SocketAddr) -> Result<(Connection, Driver), BoxError> {
        // The address was looked up before, so the name in the URI does not matter.
        let resolve =
            service_fn(move |_| std::future::ready(io::Result::Ok(std::iter::once(address))));
        let mut tcp = HttpConnector::new_with_resolver(resolve);
        tcp.set_nodelay(true);
        // The kernel gives up on unacknowledged data after the time that a ping may stay
        // unanswered.
        #[cfg(target_os = "linux")]
        tcp.set_tcp_user_timeout(self.keepalive.map(|keepalive| keepalive.timeout));
        let stream = tcp.oneshot(Uri::from_static("http://backend")).await?;
        let read = Arc::new(AtomicU64::new(0));
        let stream = CountedStream {
            stream: stream.into_inner(),
            read: Arc::clone(&read),
        };
        match &self.tls {
            None => self.handshake(stream, read).await,
            Some(tls) => self.handshake(tls.connect(stream).await?, read).await,
        }
    }

    async fn handshake<T>(
        &self,
        stream: T,
        read: Arc<AtomicU64>,
    ) -> Result<(Connection, Driver), BoxError>
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let mut http2 = Builder::new(TokioExecutor::new());
        http2.timer(TokioTimer::new());
        if let Some(keepalive) = self.keepalive() {
            http2
                .keep_alive_interval(keepalive.time)
                .keep_alive_timeout(keepalive.timeout)
                .keep_alive_while_idle(keepalive.permit_without_stream);
        }
        let (requests, connection) = http2.handshake(TokioIo::new(stream)).await?;
        let connected = Connection {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            requests,
            read,
        };
        // The requests that wait for an answer on it get the error.
        let driver = Box::pin(async move { drop(connection.await) });
        Ok((connected, driver))
    }
}

/// A stream that counts what is read from it.
#[derive(Debug)]
pub(crate) struct CountedStream<S> {
    stream: S,
    read: Arc<AtomicU64>,
}

impl<S: AsyncRead + Unpin> AsyncRead for CountedStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        let bytes = buffer.filled().len().saturating_sub(before);
        if bytes > 0 {
            self.read.fetch_add(bytes as u64, Ordering::Relaxed);
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for CountedStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
