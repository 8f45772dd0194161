//! The settings of a receiver.

mod grpc;
mod http;
mod port;

use std::path::PathBuf;
use std::time::Duration;

use crate::tls::{REREAD_INTERVAL, TlsVersions};

pub use self::grpc::GrpcConfig;
pub use self::http::{Cors, HttpConfig, SignalPaths};
pub(crate) use self::port::{ConnectionSettings, Http1Settings, MAX_JSON_GROWTH, PortConfig};

/// The default of the bytes in flight: four of the longest requests, or hundreds of usual ones.
const MAX_IN_FLIGHT_BYTES: usize = 256 << 20;

/// The default of the requests that one connection may have open: more than any SDK opens; h2 has a
/// cost for each.
const MAX_CONCURRENT_STREAMS: u32 = 100;

/// The time that the bytes of a request may take to arrive: three times an SDK's own patience with
/// the whole export. Without a limit, slow senders could hold the memory for requests for ever.
pub(crate) const READ_LIMIT: Duration = Duration::from_secs(30);

/// The settings of a receiver: one port for each transport.
#[derive(Clone, Debug, PartialEq)]
pub struct ReceiverConfig {
    /// The port for OTLP/gRPC.
    pub grpc: Option<GrpcConfig>,
    /// The port for OTLP/HTTP.
    pub http: Option<HttpConfig>,
    /// The time that [`Receiver::serve`](super::Receiver::serve) waits for requests in flight once
    /// it is told to stop.
    pub drain_grace: Duration,
}

impl Default for ReceiverConfig {
    /// Returns the settings of a receiver without a port.
    fn default() -> Self {
        Self {
            grpc: None,
            http: None,
            // The patience that clients themselves have with a last flush.
            drain_grace: Duration::from_secs(5),
        }
    }
}

impl From<GrpcConfig> for ReceiverConfig {
    fn from(grpc: GrpcConfig) -> Self {
        Self {
            grpc: Some(grpc),
            ..Self::default()
        }
    }
}

impl From<HttpConfig> for ReceiverConfig {
    fn from(http: HttpConfig) -> Self {
        Self {
            http: Some(http),
            ..Self::default()
        }
    }
}

impl ReceiverConfig {
    /// Returns its ports.
    pub(crate) fn ports(&self) -> impl Iterator<Item = PortConfig> {
        let grpc = self
            .grpc
            .clone()
            .map(|grpc| PortConfig::Grpc(Box::new(grpc)));
        let http = self
            .http
            .clone()
            .map(|http| PortConfig::Http(Box::new(http)));
        grpc.into_iter().chain(http)
    }

    /// Returns the endpoints of its ports.
    pub fn endpoints(&self) -> impl Iterator<Item = &str> {
        let grpc = self.grpc.as_ref().map(|grpc| grpc.endpoint.as_str());
        let http = self.http.as_ref().map(|http| http.endpoint.as_str());
        grpc.into_iter().chain(http)
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
