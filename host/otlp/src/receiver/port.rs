//! One port of a receiver: bound, and not served yet.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};

use tokio::net::TcpListener;

use super::bind_error::BindError;
use super::front::Certificates;
use super::listen::listen;
use super::settings::PortConfig;
use super::stats::ReceiverStats;
use super::transport::Transport;
use crate::auth::Authenticator;

/// A port that is bound and not served yet.
#[derive(Debug)]
pub(crate) struct Port {
    config: PortConfig,
    listener: Arc<TcpListener>,
    local_addr: SocketAddr,
    security: Security,
    stats: Arc<ReceiverStats>,
}

/// The security of a port: the certificates for its connections, and the credentials that its
/// requests must carry.
#[derive(Debug)]
pub(crate) struct Security {
    pub(crate) tls: Option<Certificates>,
    pub(crate) auth: Option<Authenticator>,
}

/// The socket of a port, for the port that takes over from it. It does not keep the port.
#[derive(Clone, Debug)]
pub(crate) struct PortSocket {
    transport: Transport,
    endpoint: String,
    listener: Weak<TcpListener>,
    stats: Arc<ReceiverStats>,
}

/// The parts of a port, for serving it.
pub(crate) struct PortParts {
    pub(crate) config: PortConfig,
    pub(crate) listener: Arc<TcpListener>,
    pub(crate) local_addr: SocketAddr,
    pub(crate) security: Security,
    pub(crate) stats: Arc<ReceiverStats>,
}

impl Port {
    /// Reads certificates and credentials, and takes the port.
    pub(crate) async fn bind(config: PortConfig) -> Result<Self, BindError> {
        let security = Security::read(&config)?;
        let endpoint = || config.endpoint().to_owned();
        let bound = listen(config.endpoint()).await;
        match bound.and_then(|listener| Ok((listener.local_addr()?, listener))) {
            Ok((local_addr, listener)) => Ok(Self {
                listener: Arc::new(listener),
                local_addr,
                security,
                stats: Arc::default(),
                config,
            }),
            Err(source) if source.kind() == io::ErrorKind::AddrInUse => Err(BindError::InUse {
                endpoint: endpoint(),
                source,
            }),
            Err(source) => Err(BindError::Listen {
                endpoint: endpoint(),
                source,
            }),
        }
    }

    /// Takes over one of these sockets if it has the same endpoint, and binds the port otherwise.
    /// The counters go on if the transport is the same.
    pub(crate) async fn bind_beside(
        config: PortConfig,
        sockets: &[PortSocket],
    ) -> Result<Self, BindError> {
        let Some((listener, socket)) = takeable(sockets, &config) else {
            return Self::bind(config).await;
        };
        let security = Security::read(&config)?;
        let stats = if socket.transport == config.transport() {
            socket.stats
        } else {
            Arc::default()
        };
        match listener.local_addr() {
            Ok(local_addr) => Ok(Self {
                config,
                listener,
                local_addr,
                security,
                stats,
            }),
            Err(source) => Err(BindError::Listen {
                endpoint: socket.endpoint,
                source,
            }),
        }
    }

    pub(crate) fn socket(&self) -> PortSocket {
        PortSocket {
            transport: self.transport(),
            endpoint: self.config.endpoint().to_owned(),
            listener: Arc::downgrade(&self.listener),
            stats: Arc::clone(&self.stats),
        }
    }

    pub(crate) fn transport(&self) -> Transport {
        self.config.transport()
    }

    pub(crate) fn config(&self) -> &PortConfig {
        &self.config
    }

    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    pub(crate) fn stats(&self) -> Arc<ReceiverStats> {
        Arc::clone(&self.stats)
    }

    pub(crate) fn into_parts(self) -> PortParts {
        PortParts {
            config: self.config,
            listener: self.listener,
            local_addr: self.local_addr,
            security: self.security,
            stats: self.stats,
        }
    }
}

/// Returns the socket that a port with these settings takes over, preferably one of the same transport.
/// Port 0 is the endpoint of many, so there the transport must be the same.
fn takeable(sockets: &[PortSocket], config: &PortConfig) -> Option<(Arc<TcpListener>, PortSocket)> {
    let transport = config.transport();
    let is_any_port = config.endpoint().ends_with(":0");
    let there = sockets
        .iter()
        .filter(|socket| socket.endpoint == config.endpoint());
    let (same, others): (Vec<_>, Vec<_>) = there.partition(|socket| socket.transport == transport);
    let others = others.into_iter().filter(|_| !is_any_port);
    let mut all = same.into_iter().chain(others);
    all.find_map(|socket| Some((socket.listener.upgrade()?, socket.clone())))
}

impl Security {
    pub(crate) fn read(config: &PortConfig) -> Result<Self, BindError> {
        let at = config.endpoint();
        let tls = config.tls().map(|tls| Certificates::read(tls, at));
        let auth = config.auth().map(|auth| Authenticator::read(auth, at));
        let endpoint = || at.to_owned();
        Ok(Self {
            tls: tls.transpose().map_err(|source| BindError::Tls {
                endpoint: endpoint(),
                source,
            })?,
            auth: auth.transpose().map_err(|source| BindError::Auth {
                endpoint: endpoint(),
                source,
            })?,
        })
    }
}
