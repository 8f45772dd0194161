//! The one HTTP server of this program: connections are counted and timed, and each request is
//! answered by one function. [`PageServer`] is the part that probes and scrapes need: GET, one path, one
//! answer.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use spandrel_config::net::Listen;
use spandrel_otlp::receiver;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tracing::debug;

/// The most connections. Probes and scrapers are few; more connections wait until one ends.
const MAX_CONNECTIONS: usize = 64;
/// The time after which a connection without a request is closed, so that it cannot hold its place
/// for ever.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);

/// The answer to a request.
#[derive(Debug)]
pub struct Answer {
    /// The HTTP status.
    pub code: u16,
    content_type: &'static str,
    header: Option<(HeaderName, &'static str)>,
    body: String,
}

impl Answer {
    /// Returns an answer in JSON.
    pub fn json(code: u16, body: String) -> Self {
        Self {
            code,
            content_type: "application/json",
            header: None,
            body,
        }
    }

    /// Returns an answer in plain text.
    pub fn text(code: u16, body: impl Into<String>) -> Self {
        Self {
            content_type: "text/plain; charset=utf-8",
            ..Self::json(code, body.into())
        }
    }

    /// Returns an answer in Prometheus' text format.
    pub fn metrics(body: String) -> Self {
        Self {
            content_type: "text/plain; version=0.0.4; charset=utf-8",
            ..Self::json(200, body)
        }
    }

    /// Returns the body.
    pub fn body(&self) -> &str {
        &self.body
    }

    /// Returns the answer to an unknown path.
    pub fn not_found() -> Self {
        Self::text(404, "not found\n")
    }

    /// Adds the header that some codes need.
    pub fn with(mut self, name: HeaderName, value: &'static str) -> Self {
        self.header = Some((name, value));
        self
    }

    fn into_response(self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::from(self.body));
        *response.status_mut() =
            StatusCode::from_u16(self.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        if let Some((name, value)) = self.header {
            headers.insert(name, HeaderValue::from_static(value));
        }
        response
    }
}

/// A source of connections.
pub trait Accept: Send + Sync {
    /// A connection.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;
    /// The client at the other end.
    type Peer: Send + 'static;

    /// Waits for the next connection.
    fn accept(&self) -> impl Future<Output = io::Result<(Self::Stream, Self::Peer)>> + Send;
}

impl Accept for TcpListener {
    type Stream = TcpStream;
    type Peer = SocketAddr;

    async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        Self::accept(self).await
    }
}

/// Serves until the future is dropped, with at most `most` connections at a time.
pub async fn serve<A, F, R>(listener: &A, most: usize, answer: F)
where
    A: Accept,
    F: Fn(Arc<A::Peer>, Request<Incoming>) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = Answer> + Send + 'static,
    A::Peer: Sync,
{
    let places = Arc::new(Semaphore::new(most));
    let mut connections = JoinSet::new();
    loop {
        // The semaphore is never closed.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                debug!(
                    error = &error as &dyn std::error::Error,
                    "cannot accept a connection"
                );
                // Out of file descriptors, for example: only waiting helps.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        while connections.try_join_next().is_some() {}
        let (peer, answer) = (Arc::new(peer), answer.clone());
        connections.spawn(async move {
            connection(stream, move |request| answer(Arc::clone(&peer), request)).await;
            drop(place);
        });
    }
}

async fn connection<R>(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    answer: impl Fn(Request<Incoming>) -> R + Send,
) where
    R: Future<Output = Answer> + Send,
{
    let service = service_fn(move |request| {
        let answer = answer(request);
        async move { Ok::<_, std::convert::Infallible>(answer.await.into_response()) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        debug!(
            error = &error as &dyn std::error::Error,
            "a connection ended early"
        );
    }
}

/// A request.
#[derive(Clone, Copy, Debug)]
pub struct PageRequest<'a> {
    /// The path, without the query.
    pub path: &'a str,
    /// The part after the `?`.
    pub query: Option<&'a str>,
}

impl PageRequest<'_> {
    /// Returns true if this key is in the query, whatever its value is.
    pub fn has(&self, key: &str) -> bool {
        let pairs = self.query.unwrap_or_default().split('&');
        let mut keys = pairs.filter_map(|pair| pair.split('=').next());
        keys.any(|known| known == key)
    }
}

/// A function that answers requests.
pub type Handler = Arc<dyn Fn(PageRequest<'_>) -> Answer + Send + Sync>;

/// A server that has its port and serves nobody yet.
#[derive(Debug)]
pub struct PageServer {
    listener: TcpListener,
    address: SocketAddr,
}

impl PageServer {
    /// Takes the port.
    ///
    /// # Errors
    /// The system refuses to listen.
    pub async fn bind(endpoint: &Listen) -> io::Result<Self> {
        let listener = receiver::listen(&endpoint.to_string()).await?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address })
    }

    /// Returns the address it listens on. Port 0 is replaced by the port in use.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until the future is dropped.
    pub async fn serve(self, handler: Handler) {
        let answer = move |_, request: Request<Incoming>| {
            let answer = match *request.method() {
                Method::GET | Method::HEAD => handler(PageRequest {
                    path: request.uri().path(),
                    query: request.uri().query(),
                }),
                _ => Answer::text(405, "only GET is answered\n"),
            };
            std::future::ready(answer)
        };
        serve(&self.listener, MAX_CONNECTIONS, answer).await;
    }
}
