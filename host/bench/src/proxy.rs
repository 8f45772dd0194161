//! The yardstick: a proxy of raw bytes on tonic, which validates nothing and has no queue.
//!
//! The cost of a collector beyond the proxy's is the collector's own work.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf as _, BufMut as _, Bytes};
use http::uri::PathAndQuery;
use spandrel_wire::Signal;
use thiserror::Error;
use tonic::body::Body;
use tonic::codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::server::NamedService;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status};
use tower::Service;

/// These are the largest sizes of HTTP/2 that any collector uses, so they do not slow the yardstick
/// down.
const FRAME: u32 = 1 << 20;
const STREAM_WINDOW: u32 = 8 << 20;
const CONNECTION_WINDOW: u32 = 32 << 20;
/// The largest message: a batch of 8192 items of a few KiB.
const MAX_MESSAGE: usize = 64 << 20;

/// The reason why the proxy ended.
#[derive(Debug, Error)]
pub enum ProxyError {
    /// The address is taken.
    #[error("the proxy cannot listen on {0}")]
    Listen(SocketAddr, #[source] io::Error),
    /// Its server failed.
    #[error("the proxy's server failed")]
    Serve(#[source] tonic::transport::Error),
}

/// Serves until `stop` resolves.
///
/// # Errors
///
/// Returns an error if it cannot listen, or its server fails.
pub async fn run(
    listen: SocketAddr,
    to: SocketAddr,
    stop: impl Future<Output = ()>,
) -> Result<(), ProxyError> {
    let channel = Endpoint::from(http::Uri::from_static("http://unnamed"));
    let channel = Endpoint::from_shared(format!("http://{to}")).unwrap_or(channel);
    let channel = channel
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .tcp_nodelay(true)
        .connect_lazy();
    let listener = std::net::TcpListener::bind(listen);
    let listener = listener.and_then(|listener| {
        listener.set_nonblocking(true)?;
        tokio::net::TcpListener::from_std(listener)
    });
    let listener = listener.map_err(|source| ProxyError::Listen(listen, source))?;
    let incoming = tonic::transport::server::TcpIncoming::from(listener).with_nodelay(Some(true));
    Server::builder()
        .max_frame_size(FRAME)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .add_service(ForwardService::<TRACES>(channel.clone()))
        .add_service(ForwardService::<METRICS>(channel.clone()))
        .add_service(ForwardService::<LOGS>(channel))
        .serve_with_incoming_shutdown(incoming, stop)
        .await
        .map_err(ProxyError::Serve)
}

const TRACES: u8 = 0;
const METRICS: u8 = 1;
const LOGS: u8 = 2;

/// The service of one signal.
#[derive(Clone, Debug)]
struct ForwardService<const SIGNAL: u8>(Channel);

impl<const SIGNAL: u8> NamedService for ForwardService<SIGNAL> {
    const NAME: &'static str = match SIGNAL {
        TRACES => "opentelemetry.proto.collector.trace.v1.TraceService",
        METRICS => "opentelemetry.proto.collector.metrics.v1.MetricsService",
        _ => "opentelemetry.proto.collector.logs.v1.LogsService",
    };
}

type BoxedFuture<T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send>>;

impl<const SIGNAL: u8> Service<http::Request<Body>> for ForwardService<SIGNAL> {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxedFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let signal = match SIGNAL {
            TRACES => Signal::Traces,
            METRICS => Signal::Metrics,
            _ => Signal::Logs,
        };
        let path = PathAndQuery::from_static(signal.export_path());
        let call = ForwardCall(self.0.clone(), path);
        Box::pin(async move {
            let mut server = tonic::server::Grpc::new(RawCodec)
                .accept_compressed(CompressionEncoding::Gzip)
                .apply_max_message_size_config(Some(MAX_MESSAGE), Some(MAX_MESSAGE));
            Ok(server.unary(call, request).await)
        })
    }
}

/// One call, made again to the other side.
struct ForwardCall(Channel, PathAndQuery);

impl tonic::server::UnaryService<Bytes> for ForwardCall {
    type Response = Bytes;
    type Future = BoxedFuture<Response<Bytes>, Status>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        let Self(channel, path) = self;
        let mut client = tonic::client::Grpc::new(channel.clone())
            .max_decoding_message_size(MAX_MESSAGE)
            .max_encoding_message_size(MAX_MESSAGE);
        let path = path.clone();
        Box::pin(async move {
            let unavailable = |error| Status::unavailable(format!("the backend is away: {error}"));
            client.ready().await.map_err(unavailable)?;
            client
                .unary(Request::new(request.into_inner()), path, RawCodec)
                .await
        })
    }
}

/// A codec that leaves messages as they are.
#[derive(Clone, Copy, Debug)]
struct RawCodec;

impl Codec for RawCodec {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for RawCodec {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.reserve(item.len());
        out.put(item);
        Ok(())
    }
}

impl Decoder for RawCodec {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, message: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(message.copy_to_bytes(message.remaining())))
    }
}
