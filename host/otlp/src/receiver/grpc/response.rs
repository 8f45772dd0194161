//! The responses to requests.

use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::FutureExt;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body::{Body as HttpBody, Frame};
use http_body_util::{BodyExt, Full};
use spandrel_pipeline::ingress::Acceptance;
use spandrel_wire::Signal;
use tokio_util::sync::WaitForCancellationFutureOwned;
use tonic::body::Body;
use tonic::{Code, Status};

use crate::prefix::{self, Prefix};
use crate::receiver::front::{PortGuide, Shutdown, WrongProtocol};
use crate::status;

const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");

/// Returns OK, with the empty response that means full success for every signal, or with the
/// refused items.
pub(super) fn ok(signal: Signal, accepted: &Acceptance) -> Response<Body> {
    const EMPTY: &[u8] = &[0; prefix::LENGTH];
    let message = status::partial_success(signal, accepted).and_then(|partial| {
        let message = partial.encode();
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

/// Returns the code of a response that consists of headers only.
pub(super) fn code_of(response: &Response<Body>) -> Option<Code> {
    let code = response.headers().get("grpc-status")?;
    Some(Code::from_bytes(code.as_bytes()))
}

/// Returns the answer to a client of HTTP/2 that does not speak gRPC.
pub(super) fn not_grpc(code: StatusCode, guide: PortGuide) -> Response<Body> {
    let text = format!("{}\n", guide.remedy(WrongProtocol::NotGrpc));
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

/// The body of an answer about health; that of a watch would last for ever. It ends when connections are told to go
/// away. Before it ends, it sends what is ready: that nothing is served any more, if no receiver
/// takes over.
pub(super) struct HealthBody {
    body: Body,
    leaving: Pin<Box<WaitForCancellationFutureOwned>>,
    ended: bool,
}

impl HealthBody {
    pub(super) fn new(body: Body, shutdown: &Shutdown) -> Self {
        Self {
            body,
            leaving: Box::pin(shutdown.leaving_owned()),
            ended: false,
        }
    }
}

impl HttpBody for HealthBody {
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
