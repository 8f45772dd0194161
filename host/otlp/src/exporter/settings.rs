//! The settings of the exporter, and their errors.

use std::path::PathBuf;
use std::time::Duration;

use crate::auth::ClientAuth;
use crate::compression::Compression;
use crate::file_value::FileError;
use crate::secret::Secret;
use crate::tls::{REREAD_INTERVAL, TlsVersions};

/// The settings of an exporter. The defaults are the Collector's where it has one. Header values
/// are secrets.
#[derive(Clone, Debug, PartialEq)]
pub struct ExporterConfig {
    /// `http://host:port` for plain text, `https://host:port` for TLS; `host:port` means TLS unless
    /// [`ClientTls::insecure`] says otherwise.
    pub endpoint: String,
    /// The headers that are sent with every request; names that end in `-bin` carry bytes.
    pub headers: Vec<(String, Secret)>,
    /// The credentials that are added to every request.
    pub auth: Option<ClientAuth>,
    /// The host, and port if any, that requests name and that the certificate must have; `None` for
    /// the endpoint's.
    pub authority: Option<String>,
    /// The compression of requests.
    pub compression: Compression,
    /// The time that one attempt may take, including connecting.
    pub timeout: Duration,
    /// The settings by which we verify the backend, and it verifies us.
    pub tls: ClientTls,
    /// The choice among the backend's addresses.
    pub balancer: Balancer,
    /// The times of keepalive probes; `None` for no probes.
    pub keepalive: Option<ClientKeepalive>,
    /// The name that we give ourselves in requests.
    pub user_agent: String,
    /// The longest request in bytes, before compression: more is never sent. OTLP recommends 64
    /// MiB.
    pub max_request: usize,
    /// The longest response in bytes. OTLP recommends 4 MiB.
    pub max_response: usize,
}

impl ExporterConfig {
    /// Returns the default settings for this endpoint.
    pub fn new(endpoint: impl Into<String>) -> Self {
        Self {
            endpoint: endpoint.into(),
            headers: Vec::new(),
            auth: None,
            authority: None,
            compression: Compression::default(),
            timeout: Duration::from_secs(5),
            tls: ClientTls::default(),
            balancer: Balancer::default(),
            keepalive: Some(ClientKeepalive::default()),
            user_agent: concat!("Spandrel/", env!("CARGO_PKG_VERSION")).to_owned(),
            max_request: 64 << 20,
            max_response: 4 << 20,
        }
    }
}

/// TLS of an exporter, with the Collector's names. Files are in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientTls {
    /// True for plain text to an endpoint without a scheme.
    pub insecure: bool,
    /// True to use TLS without verifying that the peer is the backend.
    pub insecure_skip_verify: bool,
    /// The file of trusted authorities; `None` for those of the system.
    pub ca_file: Option<PathBuf>,
    /// True to trust the system's authorities in addition to those of `ca_file`.
    pub include_system_ca_certs_pool: bool,
    /// The file of our certificate, for backends that ask for one; needs `key_file`.
    pub cert_file: Option<PathBuf>,
    /// The file of its private key.
    pub key_file: Option<PathBuf>,
    /// The name that the backend's certificate must have, if it is not the endpoint's host.
    pub server_name_override: Option<String>,
    /// The TLS versions that may be used.
    pub versions: TlsVersions,
    /// The interval between two looks at the files. Connections made after a change use the new
    /// content.
    pub reload_interval: Duration,
}

impl Default for ClientTls {
    fn default() -> Self {
        Self {
            insecure: false,
            insecure_skip_verify: false,
            ca_file: None,
            include_system_ca_certs_pool: false,
            cert_file: None,
            key_file: None,
            server_name_override: None,
            versions: TlsVersions::default(),
            reload_interval: REREAD_INTERVAL,
        }
    }
}

/// The choice among the addresses of a name, with gRPC's names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Balancer {
    /// All addresses, in turn.
    #[default]
    RoundRobin,
    /// The first address that can be connected to, as long as it can.
    PickFirst,
}

/// The client side of keepalive, with the Collector's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientKeepalive {
    /// The time without traffic after which a connection is probed.
    pub time: Duration,
    /// The time after which an unanswered probe means that the backend is gone.
    pub timeout: Duration,
    /// True to probe also when nothing is being sent.
    pub permit_without_stream: bool,
}

impl Default for ClientKeepalive {
    /// Probes only while an answer is awaited, so that no server finds the probes too many.
    fn default() -> Self {
        Self {
            time: Duration::from_secs(30),
            timeout: Duration::from_secs(10),
            permit_without_stream: false,
        }
    }
}

/// The reason why an exporter cannot be made: the operator must fix it.
#[derive(Debug, thiserror::Error)]
pub enum ExporterError {
    /// The endpoint is not valid.
    #[error(
        "`{endpoint}` is not an endpoint: write http://host:port, https://host:port or host:port"
    )]
    Endpoint {
        /// The endpoint that was given.
        endpoint: String,
    },
    /// A header cannot be sent.
    #[error("header `{name}` cannot be sent: {reason}")]
    Header {
        /// The name of the header.
        name: String,
        /// The reason. It does not contain the value, which may be a secret.
        reason: &'static str,
    },
    /// A file cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// The authority cannot be named in requests.
    #[error("`{authority}` is not a host, or host:port, that can be asked for")]
    Authority {
        /// The authority that was given.
        authority: String,
    },
    /// The TLS settings do not go together.
    #[error("tls: {0}")]
    TlsSettings(&'static str),
}
