//! A small HTTP server for probes and scrapes: GET, one path, one answer.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use spandrel_otlp::receiver;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tracing::debug;

use crate::config::net::Listen;

/// Probes and scrapers are few; more connections than these wait until one ends.
const MAX_CONNECTIONS: usize = 64;
/// A connection that has sent no request for this long is closed, so that it cannot take a place
/// for ever.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);

/// What is answered to a GET.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: u16,
    content_type: &'static str,
    body: String,
}

impl Answer {
    pub(crate) fn json(code: u16, body: String) -> Self {
        Self {
            code,
            content_type: "application/json",
            body,
        }
    }

    pub(crate) fn text(code: u16, body: impl Into<String>) -> Self {
        Self {
            code,
            content_type: "text/plain; charset=utf-8",
            body: body.into(),
        }
    }

    /// Prometheus' text format.
    pub(crate) fn metrics(body: String) -> Self {
        Self {
            code: 200,
            content_type: "text/plain; version=0.0.4; charset=utf-8",
            body,
        }
    }

    pub(crate) fn not_found() -> Self {
        Self::text(404, "not found\n")
    }
}

/// Answers a path.
pub(crate) type Handler = Arc<dyn Fn(&str) -> Answer + Send + Sync>;

/// A server that has its port and serves nobody yet.
#[derive(Debug)]
pub(crate) struct Web {
    listener: TcpListener,
    address: SocketAddr,
}

impl Web {
    pub(crate) async fn bind(endpoint: &Listen) -> io::Result<Self> {
        let listener = receiver::listen(&endpoint.to_string()).await?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address })
    }

    /// Where it listens, with the port that port 0 became.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until the future is dropped.
    pub(crate) async fn serve(self, handler: Handler) {
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let mut connections = JoinSet::new();
        loop {
            // The semaphore is never closed.
            let Ok(place) = Arc::clone(&places).acquire_owned().await else {
                return;
            };
            let stream = match self.listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    debug!(
                        error = &error as &dyn std::error::Error,
                        "cannot accept a connection"
                    );
                    // Out of file descriptors, for example: it helps only to wait.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            while connections.try_join_next().is_some() {}
            let handler = Arc::clone(&handler);
            connections.spawn(async move {
                connection(stream, handler).await;
                drop(place);
            });
        }
    }
}

async fn connection(stream: TcpStream, handler: Handler) {
    let service = service_fn(move |request: Request<Incoming>| {
        let response = respond(&request, &handler);
        async move { Ok::<_, std::convert::Infallible>(response) }
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

fn respond(request: &Request<Incoming>, handler: &Handler) -> Response<Full<Bytes>> {
    let answer = match *request.method() {
        Method::GET | Method::HEAD => handler(request.uri().path()),
        _ => Answer::text(405, "only GET is answered\n"),
    };
    let mut response = Response::new(Full::from(answer.body));
    *response.status_mut() =
        StatusCode::from_u16(answer.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let content_type = HeaderValue::from_static(answer.content_type);
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, content_type);
    response
}
