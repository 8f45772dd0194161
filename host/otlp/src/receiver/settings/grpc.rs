//! The settings of the port for OTLP/gRPC.

use super::{Keepalive, ServerTls};
use crate::auth::ServerAuth;

/// The settings of the port for OTLP/gRPC. The defaults are the Collector's where it has one.
#[derive(Clone, Debug, PartialEq)]
pub struct GrpcConfig {
    /// The host and port; port 0 takes a free one. No host means every interface.
    pub endpoint: String,
    /// The longest request in bytes, on the wire and inflated. OTLP recommends 64 MiB.
    pub max_recv_msg_size: usize,
    /// The bytes that all requests that are being read or offered may take together, inflated. It
    /// counts as at least what one longest request can take with its decoder. A request that gets
    /// no room in time is told to come back. The ports of a receiver share it; the larger value of
    /// the two counts.
    pub max_in_flight_bytes: usize,
    /// The number of requests that one connection may have open at a time.
    pub max_concurrent_streams: u32,
    /// The times after which connections are probed, and asked to end.
    pub keepalive: Keepalive,
    /// TLS; `None` for plain text.
    pub tls: Option<ServerTls>,
    /// The credentials that requests must carry; `None` for no authentication. Health checks need
    /// none.
    pub auth: Option<ServerAuth>,
}

impl GrpcConfig {
    /// Returns the default settings for this endpoint.
    pub fn new(endpoint: impl Into<String>) -> Self {
        Self {
            endpoint: endpoint.into(),
            max_recv_msg_size: 64 << 20,
            max_in_flight_bytes: super::MAX_IN_FLIGHT_BYTES,
            max_concurrent_streams: super::MAX_CONCURRENT_STREAMS,
            keepalive: Keepalive::default(),
            tls: None,
            auth: None,
        }
    }
}
