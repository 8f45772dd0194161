//! The settings of one port, whichever transport it speaks.

use std::time::Duration;

use super::{GrpcConfig, HttpConfig, Keepalive, MAX_CONCURRENT_STREAMS, READ_LIMIT, ServerTls};
use crate::auth::ServerAuth;
use crate::receiver::transport::Transport;

/// The time for which a client of gRPC may take none of the bytes that we want to send.
const WRITE_LIMIT: Duration = Duration::from_secs(30);

/// The time that a client of gRPC may take for its first bytes. Real clients send them at once.
const FIRST_BYTES_LIMIT: Duration = Duration::from_secs(5);

/// The most bytes that a message has for one byte of its text in JSON.
pub(crate) const MAX_JSON_GROWTH: usize = 4;

/// The settings of one port.
#[derive(Clone, Debug)]
pub(crate) enum PortConfig {
    Grpc(Box<GrpcConfig>),
    Http(Box<HttpConfig>),
}

/// The settings of the connections to a port.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConnectionSettings {
    /// The number of requests that one connection may have open at a time.
    pub(crate) max_concurrent_streams: u32,
    pub(crate) keepalive: Keepalive,
    /// The time that a client may take for its first bytes.
    pub(crate) first_bytes_limit: Duration,
    /// The time for which a client may take none of the bytes that we want to send.
    pub(crate) write_limit: Duration,
    /// `None` if the port does not speak HTTP/1.1.
    pub(crate) http1: Option<Http1Settings>,
}

/// The settings of the connections that speak HTTP/1.1.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Http1Settings {
    /// The time that the head of a request may take to arrive.
    pub(crate) head_limit: Duration,
    /// True if a connection may carry more than one request.
    pub(crate) keep_alive: bool,
}

impl PortConfig {
    pub(crate) fn transport(&self) -> Transport {
        match self {
            Self::Grpc(_) => Transport::Grpc,
            Self::Http(_) => Transport::Http,
        }
    }

    pub(crate) fn endpoint(&self) -> &str {
        match self {
            Self::Grpc(grpc) => &grpc.endpoint,
            Self::Http(http) => &http.endpoint,
        }
    }

    pub(crate) fn tls(&self) -> Option<&ServerTls> {
        match self {
            Self::Grpc(grpc) => grpc.tls.as_ref(),
            Self::Http(http) => http.tls.as_ref(),
        }
    }

    pub(crate) fn auth(&self) -> Option<&ServerAuth> {
        match self {
            Self::Grpc(grpc) => grpc.auth.as_ref(),
            Self::Http(http) => http.auth.as_ref(),
        }
    }

    /// Returns the length of the longest request in bytes.
    pub(crate) fn longest(&self) -> usize {
        match self {
            Self::Grpc(grpc) => grpc.max_recv_msg_size,
            Self::Http(http) => http.max_request_body_size,
        }
    }

    /// Returns the length of the longest request for which there must be room, in two copies: the
    /// message of one in JSON may have four times the length of its text.
    pub(crate) fn most_of_one(&self) -> usize {
        match self {
            Self::Grpc(_) => self.longest(),
            Self::Http(_) => self
                .longest()
                .div_ceil(2)
                .saturating_mul(1 + MAX_JSON_GROWTH),
        }
    }

    /// Returns the bytes that all requests may take together.
    pub(crate) fn in_flight(&self) -> usize {
        match self {
            Self::Grpc(grpc) => grpc.max_in_flight_bytes,
            Self::Http(http) => http.max_in_flight_bytes,
        }
    }

    /// Returns the time that the bytes of a request may take to arrive.
    pub(crate) fn read_limit(&self) -> Duration {
        match self {
            Self::Grpc(_) => READ_LIMIT,
            Self::Http(http) => http.read_timeout,
        }
    }

    pub(crate) fn connections(&self) -> ConnectionSettings {
        match self {
            Self::Grpc(grpc) => ConnectionSettings {
                max_concurrent_streams: grpc.max_concurrent_streams,
                keepalive: grpc.keepalive,
                first_bytes_limit: FIRST_BYTES_LIMIT,
                write_limit: WRITE_LIMIT,
                http1: None,
            },
            Self::Http(http) => ConnectionSettings {
                max_concurrent_streams: MAX_CONCURRENT_STREAMS,
                keepalive: Keepalive {
                    max_connection_idle: Some(http.idle_timeout),
                    ..Keepalive::default()
                },
                // Browsers connect before they have something to send.
                first_bytes_limit: http.read_header_timeout,
                write_limit: http.write_timeout,
                http1: Some(Http1Settings {
                    head_limit: http.read_header_timeout,
                    keep_alive: http.keep_alives_enabled,
                }),
            },
        }
    }
}
