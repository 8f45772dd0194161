use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http_body::{Body as HttpBody, Frame};
use http_body_util::Full;
use spandrel_pipeline::ingress::{Acceptance, Ingress};
use spandrel_pipeline::refused::Refused;
use tokio::time::{Instant, sleep};
use tonic_types::StatusExt;

use super::*;
use crate::receiver::export::{ExportSettings, READ_LIMIT_DRAINING, Room};
use crate::receiver::front::{PortGuide, Shutdown};
use crate::receiver::settings::READ_LIMIT;
use crate::receiver::stats::ReceiverStats;
use crate::receiver::transport::Transport;

const PEER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 4317);

/// An ingress that takes everything.
#[derive(Debug)]
struct Open;

impl Ingress for Open {
    fn offer(
        &self,
        _signal: Signal,
        _request: Bytes,
    ) -> BoxFuture<'_, Result<Acceptance, Refused>> {
        Box::pin(std::future::ready(Ok(Acceptance::default())))
    }

    fn carries(&self, signal: Signal) -> bool {
        signal == Signal::Traces
    }
}

/// A body that never arrives.
struct Never;

impl HttpBody for Never {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Pending
    }
}

fn handler() -> GrpcHandler {
    let settings = ExportSettings {
        longest: 1024,
        read_limit: READ_LIMIT,
        auth: None,
        endpoint: PEER,
    };
    let stats = Arc::new(ReceiverStats::default());
    let log = ProtocolLog::new(
        stats.of_connections(),
        PEER,
        PortGuide::new(Transport::Grpc, None),
    );
    let room = Arc::new(Room::new(1024, 1024));
    let exports = Exports::new(settings, Arc::new(Open), room, Shutdown::new(), stats);
    GrpcHandler::new(exports, Arc::new(log))
}

fn request<B>(body: B) -> Request<B> {
    Request::post(Signal::Traces.export_path())
        .header("content-type", "application/grpc")
        .body(body)
        .expect("a request")
}

fn status(response: &Response<Body>) -> Status {
    Status::from_header_map(response.headers()).expect("a status in the headers")
}

/// A request whose bytes do not come is given up after its time, with a code to retry.
#[tokio::test(start_paused = true)]
async fn a_slow_body_is_given_up() {
    let handler = handler();
    let begun = Instant::now();
    let response = handler.respond(request(Never), 1, PEER).await;
    assert_eq!(begun.elapsed(), READ_LIMIT);
    assert_eq!(status(&response).code(), Code::DeadlineExceeded);
    assert_eq!(handler.exports.stats().requests(4), 1);
}

/// A health request has little time, as nobody knows who sends it.
#[tokio::test(start_paused = true)]
async fn a_slow_request_for_health_is_given_up() {
    let handler = handler();
    for path in [WATCH, "/grpc.health.v1.Health/Check"] {
        let (mut head, body) = request(Never).into_parts();
        head.uri = path.parse().expect("a path");
        let begun = Instant::now();
        let response = handler
            .respond(Request::from_parts(head, body), 1, PEER)
            .await;
        assert_eq!(begun.elapsed(), HEALTH_LIMIT);
        assert_eq!(status(&response).code(), Code::DeadlineExceeded);
    }
}

/// A slow body gets little more time once the receiver is stopping, so that its sender hears of it
/// while it can still go elsewhere.
#[tokio::test(start_paused = true)]
async fn a_drain_does_not_wait_for_slow_bodies() {
    let handler = handler();
    let begun = Instant::now();
    let (response, ()) = tokio::join!(handler.respond(request(Never), 1, PEER), async {
        sleep(Duration::from_secs(1)).await;
        handler.exports.shutdown().drain();
    });
    assert_eq!(
        begun.elapsed(),
        Duration::from_secs(1) + READ_LIMIT_DRAINING
    );
    assert_eq!(status(&response).code(), Code::Unavailable);
}

/// A request that comes during the drain is answered with a code to retry, and a time.
#[tokio::test]
async fn a_drain_refuses_new_requests_with_a_time() {
    let handler = handler();
    handler.exports.shutdown().drain();
    let body = Full::new(Bytes::from_static(&[0; 5]));
    let response = handler.respond(request(body), 1, PEER).await;
    let status = status(&response);
    assert_eq!(status.code(), Code::Unavailable);
    let info = status.get_details_retry_info().expect("a RetryInfo");
    assert!(info.retry_delay.is_some());
}
