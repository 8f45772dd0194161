use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http_body::{Body as HttpBody, Frame};
use http_body_util::{BodyExt, Full};
use spandrel_pipeline::ingress::Ingress;
use spandrel_pipeline::refused::Refused;
use tokio::time::{Instant, sleep};

use super::*;
use crate::receiver::export::{ExportSettings, READ_LIMIT_DRAINING, Room};
use crate::receiver::front::{PortGuide, Shutdown};
use crate::receiver::stats::ReceiverStats;
use crate::receiver::transport::Transport;

const PEER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 4318);
const READ_LIMIT: Duration = Duration::from_secs(7);

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

    fn carries(&self, _signal: Signal) -> bool {
        true
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

fn handler() -> HttpHandler {
    let settings = ExportSettings {
        longest: 1024,
        read_limit: READ_LIMIT,
        auth: None,
        endpoint: PEER,
    };
    let stats = Arc::new(ReceiverStats::default());
    let guide = PortGuide::new(Transport::Http, None);
    let log = ProtocolLog::new(stats.of_connections(), PEER, guide);
    let room = Arc::new(Room::new(1024, 1024));
    let exports = Exports::new(settings, Arc::new(Open), room, Shutdown::new(), stats);
    HttpHandler::new(&HttpConfig::new("localhost:0"), exports, Arc::new(log))
}

fn request<B>(body: B) -> Request<B> {
    Request::post("/v1/traces")
        .header("content-type", "application/json")
        .body(body)
        .expect("a request")
}

/// A body that does not come is given up after the configured time, and its sender is told to come
/// again. It is not waited for once more.
#[tokio::test(start_paused = true)]
async fn a_slow_body_is_given_up() {
    let handler = handler();
    let begun = Instant::now();
    let response = handler.respond(request(Never), 1, PEER).await;
    assert_eq!(begun.elapsed(), READ_LIMIT);
    assert_eq!(response.status(), 503);
    assert_eq!(response.headers()["connection"], "close");
    assert_eq!(handler.exports.stats().requests(4), 1);
}

/// A slow body gets little more time once the receiver is stopping.
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
    assert_eq!(response.status(), 503);
}

/// A request that comes during the drain is told to come again, in its own format.
#[tokio::test]
async fn a_drain_refuses_new_requests_with_a_time() {
    let handler = handler();
    handler.exports.shutdown().drain();
    let body = Full::new(Bytes::from_static(b"{}"));
    let response = handler.respond(request(body), 1, PEER).await;
    let (head, body) = response.into_parts();
    assert_eq!(head.status, 503);
    let wait = head.headers["retry-after"].to_str().expect("text");
    assert!(
        (1..=2).contains(&wait.parse::<u64>().expect("seconds")),
        "{wait}"
    );
    let body = body.collect().await.expect("whole").to_bytes();
    let body = str::from_utf8(&body).expect("text");
    let start = r#"{"code":14,"message":"collector is stopping","details":[{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"1."#;
    assert!(body.starts_with(start), "{body}");
}
