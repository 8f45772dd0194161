//! The interface to the protocol of the requests.

use std::fmt;
use std::net::SocketAddr;

use http::{Request, Response};
use hyper::body::Incoming;
use tonic::body::Body;

use super::activity::Purpose;
use super::fair::ConnectionId;

/// Answers the requests of all connections.
pub(crate) trait RequestHandler: fmt::Debug + Send + Sync + 'static {
    /// Returns the purpose of the requests to this path.
    fn purpose(&self, path: &str) -> Purpose;

    /// Answers one request of this connection, whose client is `peer`.
    fn answer(
        &self,
        request: Request<Incoming>,
        connection: ConnectionId,
        peer: SocketAddr,
    ) -> impl Future<Output = Response<Body>> + Send;

    /// Tells clients that watch that nothing is served any more.
    fn stop(&self) -> impl Future<Output = ()> + Send;
}
