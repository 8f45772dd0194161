//! The settings of a receiver.

use std::path::PathBuf;
use std::time::Duration;

use crate::auth::ServerAuth;
use crate::tls::{REREAD_INTERVAL, TlsVersions};

/// The settings of a receiver. The defaults are the Collector's where it has one.
#[derive(Clone, Debug, PartialEq)]
pub struct ReceiverConfig {
    /// The host and port; port 0 takes a free one. No host means every interface.
    pub endpoint: String,
    /// The longest request in bytes, on the wire and inflated. OTLP recommends 64 MiB.
    pub max_recv_msg_size: usize,
    /// The bytes that all requests that are being read or offered may take together, inflated. It
    /// counts as at least what one longest request can take with its decoder. A request that gets
    /// no room in time is told to come back.
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
    /// The time that [`Receiver::serve`](super::Receiver::serve) waits for requests in flight once
    /// it is told to stop.
    pub drain_grace: Duration,
}

impl ReceiverConfig {
    /// Returns the default settings for this endpoint.
    pub fn new(endpoint: impl Into<String>) -> Self {
        Self {
            endpoint: endpoint.into(),
            max_recv_msg_size: 64 << 20,
            // Four of the longest requests, or hundreds of usual ones.
            max_in_flight_bytes: 256 << 20,
            // More than any SDK opens; h2 has a cost for each.
            max_concurrent_streams: 100,
            keepalive: Keepalive::default(),
            tls: None,
            auth: None,
            // The patience that clients themselves have with a last flush.
            drain_grace: Duration::from_secs(5),
        }
    }
}

/// The server side of keepalive, with the Collector's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// The time without requests after which a connection is asked to end.
    pub max_connection_idle: Option<Duration>,
    /// The age, give or take a tenth, at which a connection is asked to end, so that clients spread
    /// over collectors that came later.
    pub max_connection_age: Option<Duration>,
    /// The time that such a connection may take to end before it is cut.
    pub max_connection_age_grace: Option<Duration>,
    /// The time without traffic after which a connection is probed.
    pub time: Duration,
    /// The time after which an unanswered probe means that the peer is gone.
    pub timeout: Duration,
}

impl Default for Keepalive {
    fn default() -> Self {
        Self {
            max_connection_idle: None,
            max_connection_age: None,
            max_connection_age_grace: None,
            // gRPC's defaults, as the Collector's.
            time: Duration::from_secs(2 * 60 * 60),
            timeout: Duration::from_secs(20),
        }
    }
}

/// The files for TLS, in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerTls {
    /// The file of the certificate and of those between it and the authority.
    pub cert_file: PathBuf,
    /// The file of its private key.
    pub key_file: PathBuf,
    /// The file of the authorities whose clients may connect; `None` for every client.
    pub client_ca_file: Option<PathBuf>,
    /// The TLS versions that may be used.
    pub versions: TlsVersions,
    /// The interval between two looks at the files. Connections that come after a change use the
    /// new content.
    pub reload_interval: Duration,
}

impl ServerTls {
    /// Returns settings with this certificate and key, for every client.
    pub fn new(cert_file: impl Into<PathBuf>, key_file: impl Into<PathBuf>) -> Self {
        Self {
            cert_file: cert_file.into(),
            key_file: key_file.into(),
            client_ca_file: None,
            versions: TlsVersions::default(),
            reload_interval: REREAD_INTERVAL,
        }
    }
}
