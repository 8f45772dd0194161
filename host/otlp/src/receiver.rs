//! The OTLP receiver: listens, reads requests within its limits, offers them to the pipeline, and
//! answers with the pipeline's result. It has a port for gRPC, a port for HTTP, or both.
//!
//! `front` accepts connections and shares out what their requests need. `grpc` and `http` answer
//! requests, each in its protocol; `export` takes them from their headers to their outcome, and
//! `request` reads the bytes of one. `serve` puts them together and ends them.
//!
//! It is built eagerly and run later: [`Receiver::bind`] reads the certificates and takes the ports,
//! [`Receiver::serve`] accepts connections. Memory is bounded.
//! [`GrpcConfig::max_in_flight_bytes`], shared out by connection over both ports, limits the bytes
//! that were read. Flow control windows limit the bytes of HTTP/2 that were not: 4 MiB for each of
//! the first 256 connections and 1 MiB for each of the others. A connection of HTTP/1.1 reads at most
//! 256 KiB ahead. There are at most 4096 connections to each port, and fewer if the process may not
//! have so many files.

mod bind_error;
mod export;
mod front;
mod grpc;
mod http;
mod listen;
mod port;
mod request;
mod serve;
mod settings;
mod stats;
mod transport;

use std::net::SocketAddr;
use std::sync::Arc;

use spandrel_pipeline::ingress::Ingress;

pub use bind_error::BindError;
pub use listen::listen;
use port::{Port, PortSocket, Security};
pub use settings::{
    Cors, GrpcConfig, HttpConfig, Keepalive, ReceiverConfig, ServerTls, SignalPaths,
};
pub use stats::ReceiverStats;
pub use transport::Transport;

/// The result of serving.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Closed {
    /// Connections that had not ended when the grace was over.
    pub connections_cut: usize,
}

/// A receiver that has its ports and does not serve yet.
#[derive(Debug)]
pub struct Receiver {
    config: ReceiverConfig,
    ports: Vec<Port>,
}

/// The sockets of a receiver, for the receiver that takes over from it. They do not keep the ports.
#[derive(Clone, Debug, Default)]
pub struct Sockets(Vec<PortSocket>);

impl FromIterator<Self> for Sockets {
    fn from_iter<I: IntoIterator<Item = Self>>(all: I) -> Self {
        Self(all.into_iter().flat_map(|sockets| sockets.0).collect())
    }
}

/// One port of a receiver.
#[derive(Clone, Debug)]
pub struct PortStatus {
    /// The transport that it speaks.
    pub transport: Transport,
    /// The address it listens on, with the port that port 0 became.
    pub address: SocketAddr,
    /// Its counters, which outlive the receiver.
    pub stats: Arc<ReceiverStats>,
}

impl Receiver {
    /// Reads certificates and credentials, and takes the ports.
    ///
    /// # Errors
    /// Returns an error if one of them cannot be used, or a port cannot be taken.
    pub async fn bind(config: ReceiverConfig) -> Result<Self, BindError> {
        Self::bind_beside(config, &Sockets::default()).await
    }

    /// Takes over from a receiver with the same endpoints, which goes on until it is told to stop.
    /// Both accept from one socket, so that no client is refused in between. Serve this one first,
    /// then stop the other. Its counters go on, too. A port for which there is nothing to take over,
    /// because the endpoint differs or the receiver is gone, is bound as by [`Receiver::bind`].
    ///
    /// # Errors
    /// The same as [`Receiver::bind`]; the receiver that is there is not touched.
    pub async fn bind_beside(config: ReceiverConfig, sockets: &Sockets) -> Result<Self, BindError> {
        let mut ports = Vec::new();
        for port in config.ports() {
            ports.push(Port::bind_beside(port, &sockets.0).await?);
        }
        Ok(Self { config, ports })
    }

    /// Reads the certificates and the credentials, and does not listen. Must be called inside the
    /// runtime.
    ///
    /// # Errors
    /// The same as [`Receiver::bind`], except those of listening, with the port that has the error.
    pub fn check(config: &ReceiverConfig) -> Result<(), (Transport, BindError)> {
        config.ports().try_for_each(|port| {
            let read = Security::read(&port).map(drop);
            read.map_err(|error| (port.transport(), error))
        })
    }

    /// Returns the sockets, for [`Receiver::bind_beside`].
    pub fn sockets(&self) -> Sockets {
        Sockets(self.ports.iter().map(Port::socket).collect())
    }

    /// Returns its ports.
    pub fn ports(&self) -> Vec<PortStatus> {
        let ports = self.ports.iter().map(|port| PortStatus {
            transport: port.transport(),
            address: port.local_addr(),
            stats: port.stats(),
        });
        ports.collect()
    }

    /// Serves until `stop` resolves. Then it gives the ports back, tells every connection to go
    /// away, answers requests in flight, refuses new ones with a code to retry, and cuts what has
    /// not ended after the grace. A port that another receiver took over refuses none: it takes the
    /// requests that still come on its connections until these have ended. A signal that no
    /// pipeline carries is answered UNIMPLEMENTED, or 404. `ingress` returns the way into the
    /// pipelines for the requests of a port.
    pub async fn serve(
        self,
        ingress: impl Fn(Transport) -> Arc<dyn Ingress>,
        stop: impl Future<Output = ()>,
    ) -> Closed {
        serve::run(self, ingress, stop).await
    }
}
