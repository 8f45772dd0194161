//! The OTLP/gRPC receiver: listens, reads requests within its limits, offers them to the pipeline,
//! and answers with the pipeline's result.
//!
//! `front` accepts connections and shares out what their requests need; `request` reads one request;
//! `grpc` answers it. `serve` puts them together and ends them.
//!
//! It is built eagerly and run later: [`Receiver::bind`] reads the certificates and takes the port,
//! [`Receiver::serve`] accepts connections. Memory is bounded.
//! [`ReceiverConfig::max_in_flight_bytes`], shared out by connection, limits the bytes that were
//! read. Flow control windows limit the bytes that were not: 4 MiB for each of the first 256
//! connections and 1 MiB for each of the others. There are at most 4096 connections in all, and
//! fewer if the process may not have so many files.

mod front;
mod grpc;
mod listen;
mod request;
mod serve;
mod settings;
mod stats;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};

use spandrel_pipeline::ingress::Ingress;
use tokio::net::TcpListener;

use crate::auth::Authenticator;
use crate::file_value::FileError;
use front::Certificates;
pub use listen::listen;
pub use settings::{Keepalive, ReceiverConfig, ServerTls};
pub use stats::ReceiverStats;

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
    security: Security,
    stats: Arc<ReceiverStats>,
}

/// The security of a receiver: the certificates for its connections, and the credentials that its
/// requests must carry.
#[derive(Debug)]
struct Security {
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
        let security = Security::read(&config)?;
        let bound = listen(&config.endpoint).await;
        match bound.and_then(|listener| Ok((listener.local_addr()?, listener))) {
            Ok((local_addr, listener)) => Ok(Self {
                config,
                listener: Arc::new(listener),
                local_addr,
                security,
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
        let security = Security::read(&config)?;
        match listener.local_addr() {
            Ok(local_addr) => Ok(Self {
                config,
                listener,
                local_addr,
                security,
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
        Security::read(config).map(drop)
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
        serve::run(self, ingress, stop).await
    }
}

impl Security {
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
