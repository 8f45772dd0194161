//! The settings of the exporter, and what can be wrong with them.

use std::path::PathBuf;
use std::time::Duration;

use crate::auth::ClientAuth;
use crate::compression::Compression;
use crate::reread::FileError;
use crate::secret::Secret;
use crate::tls::{REREAD_INTERVAL, TlsVersions};

/// Where to send, and how. The defaults are the Collector's where it has one. Header values are
/// secrets.
#[derive(Clone, Debug, PartialEq)]
pub struct ExporterConfig {
    /// `http://host:port` for plain text, `https://host:port` for TLS; `host:port` means TLS unless
    /// [`ClientTls::insecure`] says otherwise.
    pub endpoint: String,
    /// Sent with every request; names that end in `-bin` carry bytes.
    pub headers: Vec<(String, Secret)>,
    /// What proves who we are; added to every request.
    pub auth: Option<ClientAuth>,
    /// The host, and port if any, that requests say they want to reach, and that the certificate
    /// must have; none for that of the endpoint.
    pub authority: Option<String>,
    /// How requests are compressed.
    pub compression: Compression,
    /// How long one attempt may take, with connecting.
    pub timeout: Duration,
    /// How the backend is known, and we to it.
    pub tls: ClientTls,
    /// Which of the backend's addresses are used.
    pub balancer: Balancer,
    /// When the connection is probed; none for never.
    pub keepalive: Option<ClientKeepalive>,
    /// How we name ourselves.
    pub user_agent: String,
    /// The longest request, before compression: more is never sent. OTLP recommends 64 MiB.
    pub max_request: usize,
    /// The longest response. OTLP recommends 4 MiB.
    pub max_response: usize,
}

impl ExporterConfig {
    /// The defaults, for this endpoint.
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
    /// Plain text for an endpoint without a scheme.
    pub insecure: bool,
    /// TLS, but whoever answers is believed to be the backend.
    pub insecure_skip_verify: bool,
    /// The authorities to trust; without it, those of the system.
    pub ca_file: Option<PathBuf>,
    /// Those of the system beside those of `ca_file`.
    pub include_system_ca_certs_pool: bool,
    /// Our certificate, for backends that ask for one; needs `key_file`.
    pub cert_file: Option<PathBuf>,
    /// Its private key.
    pub key_file: Option<PathBuf>,
    /// The name that the backend's certificate must have, where it is not the endpoint's host.
    pub server_name_override: Option<String>,
    /// The versions that are spoken.
    pub versions: TlsVersions,
    /// How often the files are looked at. Connections made after a change use what is new.
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

/// Which addresses of a name are used, with gRPC's names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Balancer {
    /// All of them, in turn.
    #[default]
    RoundRobin,
    /// The first that can be connected to, as long as it can.
    PickFirst,
}

/// The client side of keepalive, with the Collector's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientKeepalive {
    /// A connection this long without traffic is probed.
    pub time: Duration,
    /// A probe unanswered for this long means that the backend is gone.
    pub timeout: Duration,
    /// Probes also when nothing is being sent.
    pub permit_without_stream: bool,
}

impl Default for ClientKeepalive {
    /// Only while an answer is waited for, so that no server finds it too much.
    fn default() -> Self {
        Self {
            time: Duration::from_secs(30),
            timeout: Duration::from_secs(10),
            permit_without_stream: false,
        }
    }
}

/// Why an exporter cannot be made: all of it is for the operator to mend.
#[derive(Debug, thiserror::Error)]
pub enum ExporterError {
    /// The endpoint is not one.
    #[error(
        "`{endpoint}` is not an endpoint: write http://host:port, https://host:port or host:port"
    )]
    Endpoint {
        /// What was given.
        endpoint: String,
    },
    /// A header cannot be sent.
    #[error("header `{name}` cannot be sent: {reason}")]
    Header {
        /// Which.
        name: String,
        /// Why not; the value stays out of it, because it may be a secret.
        reason: &'static str,
    },
    /// A file cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// The name cannot be asked for.
    #[error("`{authority}` is not a host, or host:port, that can be asked for")]
    Authority {
        /// What was given.
        authority: String,
    },
    /// The settings of TLS do not go together.
    #[error("tls: {0}")]
    TlsSettings(&'static str),
}
