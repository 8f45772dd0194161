//! A plain HTTP/2 client, and requests by hand.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::body::Incoming;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tonic::{Code, Status};

pub(crate) type Body = BoxBody<Bytes, std::convert::Infallible>;

pub(crate) const TRACES: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
pub(crate) const LOGS: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";

/// One HTTP/2 connection.
pub(crate) struct Client {
    pub(crate) send: SendRequest<Body>,
    connection: JoinSet<()>,
}

/// The answer to a request.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) http: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) status: Option<Status>,
}

impl Answer {
    pub(crate) fn code(&self) -> Code {
        self.status.as_ref().expect("a grpc-status").code()
    }
}

impl Client {
    pub(crate) async fn connect(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).await.expect("a listener");
        let (send, run) = handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .expect("HTTP/2");
        let mut connection = JoinSet::new();
        connection.spawn(async move {
            // The requests on the connection see how it ends.
            drop(run.await);
        });
        Self { send, connection }
    }

    pub(crate) async fn call(&mut self, request: Request<Body>) -> Answer {
        self.send.ready().await.expect("an open connection");
        let response = self.send.send_request(request).await.expect("an answer");
        answer(response).await
    }

    /// Resolves when the connection has ended.
    pub(crate) async fn ended(mut self) {
        self.connection.join_next().await;
    }
}

pub(crate) async fn answer(response: Response<Incoming>) -> Answer {
    let (head, body) = response.into_parts();
    let collected = body.collect().await.expect("a whole answer");
    let trailers = collected.trailers().cloned().unwrap_or_default();
    let status =
        Status::from_header_map(&head.headers).or_else(|| Status::from_header_map(&trailers));
    Answer {
        http: head.status.as_u16(),
        headers: head.headers,
        body: collected.to_bytes(),
        status,
    }
}

/// Returns a request as a gRPC client would send it.
pub(crate) fn request(path: &str, encoding: Option<&str>, body: Body) -> Request<Body> {
    let mut request = Request::post(format!("http://collector{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    if let Some(encoding) = encoding {
        request = request.header("grpc-encoding", encoding);
    }
    request.body(body).expect("a request")
}

pub(crate) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).boxed()
}

/// Returns one gRPC message with its prefix.
pub(crate) fn framed(flag: u8, message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).expect("short");
    [&[flag][..], &length.to_be_bytes(), message].concat()
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}
