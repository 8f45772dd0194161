//! The OTLP/gRPC receiver: listens, reads requests within its limits, offers them to the pipeline,
//! and answers with the pipeline's result.
//!
//! It is built eagerly and run later: [`Receiver::bind`] reads the certificates and takes the port,
//! [`Receiver::serve`] accepts connections. Memory is bounded.
//! [`ReceiverConfig::max_in_flight_bytes`], shared out by connection, limits the bytes that were
//! read. Flow control windows limit the bytes that were not: 4 MiB for each of the first 256
//! connections and 1 MiB for each of the others. There are at most 4096 connections in all, and
//! fewer if the process may not have so many files.

mod accept;
mod activity;
mod answer;
mod budget;
mod connection;
mod crowd;
mod fair;
mod frames;
mod health;
mod place;
mod preface;
mod request;
mod seldom;
mod stats;
mod stranger;
mod tls;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

use spandrel_pipeline::ingress::Ingress;
use tokio::net::{TcpListener, lookup_host};

use crate::auth::{Authenticator, ServerAuth};
use crate::reread::FileError;
use crate::tls::{REREAD_INTERVAL, TlsVersions};
pub use stats::ReceiverStats;
use tls::Certificates;

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
    /// The time that [`Receiver::serve`] waits for requests in flight once it is told to stop.
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

/// The reason why a receiver cannot listen: the operator must fix it.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another program has the port.
    #[error(
        "cannot listen on {endpoint}: the port is in use; stop the program that has it (another \
         collector?) or set another `endpoint`"
    )]
    InUse {
        /// The endpoint.
        endpoint: String,
        /// The error, which names the address that is taken.
        #[source]
        source: io::Error,
    },
    /// The address cannot be taken.
    #[error("cannot listen on {endpoint}; `endpoint` must be host:port of this machine")]
    Listen {
        /// The endpoint.
        endpoint: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The certificates cannot be used.
    #[error("cannot set up TLS on {endpoint}")]
    Tls {
        /// The endpoint.
        endpoint: String,
        /// The cause.
        #[source]
        source: FileError,
    },
    /// The credentials of clients cannot be used.
    #[error("cannot set up authentication on {endpoint}")]
    Auth {
        /// The endpoint.
        endpoint: String,
        /// The cause.
        #[source]
        source: FileError,
    },
}

/// The result of serving.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Closed {
    /// Connections that had not ended when the grace was over.
    pub connections_cut: usize,
}

/// A receiver that has its port and does not serve yet.
#[derive(Debug)]
pub struct Receiver {
    config: ReceiverConfig,
    listener: Arc<TcpListener>,
    local_addr: SocketAddr,
    doors: Doors,
    stats: Arc<ReceiverStats>,
}

/// The checks that connections and requests must pass.
#[derive(Debug)]
struct Doors {
    tls: Option<Certificates>,
    auth: Option<Authenticator>,
}

/// The socket of a receiver, for the receiver that takes over from it. It does not keep the port.
#[derive(Clone, Debug)]
pub struct Socket {
    endpoint: String,
    listener: Weak<TcpListener>,
    stats: Arc<ReceiverStats>,
}

impl Receiver {
    /// Reads certificates and credentials, and takes the port.
    ///
    /// # Errors
    /// Returns an error if one of them cannot be used, or the port cannot be taken.
    pub async fn bind(config: ReceiverConfig) -> Result<Self, BindError> {
        let doors = Doors::read(&config)?;
        let bound = listen(&config.endpoint).await;
        match bound.and_then(|listener| Ok((listener.local_addr()?, listener))) {
            Ok((local_addr, listener)) => Ok(Self {
                config,
                listener: Arc::new(listener),
                local_addr,
                doors,
                stats: Arc::default(),
            }),
            Err(source) if source.kind() == io::ErrorKind::AddrInUse => Err(BindError::InUse {
                endpoint: config.endpoint,
                source,
            }),
            Err(source) => Err(BindError::Listen {
                endpoint: config.endpoint,
                source,
            }),
        }
    }

    /// Takes over from a receiver at the same endpoint, which goes on until it is told to stop.
    /// Both accept from one socket, so that no client is refused in between. Serve this one first,
    /// then stop the other. Its counters go on, too. If there is nothing to take over, because the
    /// endpoint differs or the receiver is gone, this is [`Receiver::bind`].
    ///
    /// # Errors
    /// The same as [`Receiver::bind`]; the receiver that is there is not touched.
    pub async fn bind_beside(config: ReceiverConfig, socket: &Socket) -> Result<Self, BindError> {
        let listener = match socket.listener.upgrade() {
            Some(listener) if socket.endpoint == config.endpoint => listener,
            _ => return Self::bind(config).await,
        };
        let doors = Doors::read(&config)?;
        match listener.local_addr() {
            Ok(local_addr) => Ok(Self {
                config,
                listener,
                local_addr,
                doors,
                stats: Arc::clone(&socket.stats),
            }),
            Err(source) => Err(BindError::Listen {
                endpoint: config.endpoint,
                source,
            }),
        }
    }

    /// Reads the certificates and the credentials, and does not listen. Must be called inside the
    /// runtime.
    ///
    /// # Errors
    /// The same as [`Receiver::bind`], except those of listening.
    pub fn check(config: &ReceiverConfig) -> Result<(), BindError> {
        Doors::read(config).map(drop)
    }

    /// Returns the socket, for [`Receiver::bind_beside`].
    pub fn socket(&self) -> Socket {
        Socket {
            endpoint: self.config.endpoint.clone(),
            listener: Arc::downgrade(&self.listener),
            stats: Arc::clone(&self.stats),
        }
    }

    /// Returns the address it listens on, with the port that port 0 became.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Returns the counters, which outlive the receiver.
    pub fn stats(&self) -> Arc<ReceiverStats> {
        Arc::clone(&self.stats)
    }

    /// Serves until `stop` resolves. Then it gives the port back, tells every connection to go
    /// away, answers requests in flight, refuses new ones with a code to retry, and cuts what has
    /// not ended after the grace. A receiver that another took over from refuses none: it takes the
    /// requests that still come on its connections until these have ended. A signal that no
    /// pipeline carries is answered UNIMPLEMENTED.
    pub async fn serve(self, ingress: Arc<dyn Ingress>, stop: impl Future<Output = ()>) -> Closed {
        accept::run(self, ingress, stop).await
    }
}

impl Doors {
    fn read(config: &ReceiverConfig) -> Result<Self, BindError> {
        let at = &config.endpoint;
        let tls = config.tls.as_ref();
        let tls = tls.map(|tls| Certificates::read(tls, at)).transpose();
        let auth = config.auth.as_ref();
        let auth = auth.map(|auth| Authenticator::read(auth, at)).transpose();
        let endpoint = || at.clone();
        Ok(Self {
            tls: tls.map_err(|source| BindError::Tls {
                endpoint: endpoint(),
                source,
            })?,
            auth: auth.map_err(|source| BindError::Auth {
                endpoint: endpoint(),
                source,
            })?,
        })
    }
}

/// Listens on host:port as Go does: no host means every interface, and a name means its first
/// address, IPv4 before IPv6. It never tries the next address: where `localhost` is both, a second
/// program would otherwise silently get the other half of the clients.
///
/// # Errors
/// Returns the cause, with the address.
pub async fn listen(endpoint: &str) -> io::Result<TcpListener> {
    let Some(port) = endpoint.strip_prefix(':') else {
        let mut addresses: Vec<SocketAddr> = lookup_host(endpoint).await?.collect();
        addresses.sort_by_key(SocketAddr::is_ipv6);
        let first = addresses.first().ok_or(io::ErrorKind::AddrNotAvailable)?;
        return TcpListener::bind(first)
            .await
            .map_err(|error| io::Error::new(error.kind(), format!("{first}: {error}")));
    };
    match TcpListener::bind(format!("[::]:{port}")).await {
        // The machine may have no IPv6.
        Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
            TcpListener::bind(format!("0.0.0.0:{port}")).await
        }
        bound => bound,
    }
}
