//! Why a run could not be made: the thing, the place, and what to do.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use thiserror::Error;

/// A run that could not be made.
#[derive(Debug, Error)]
pub enum BenchError {
    /// The backend's address is taken.
    #[error(
        "the backend cannot listen on {address}: choose another with --backend, and let the collector export there"
    )]
    Listen {
        /// Of the backend.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Something answers already where the collector is to be started.
    #[error(
        "something listens on {endpoint} already: stop it, or choose another with --endpoint; to measure it, name it with --pid"
    )]
    EndpointTaken {
        /// Of the collector.
        endpoint: SocketAddr,
    },
    /// The program is not there.
    #[error("cannot start `{program}`")]
    Start {
        /// As it was named.
        program: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It ended while it should have come up.
    #[error(
        "`{program}` ended ({status}) before it answered on {endpoint}; its last lines:\n{output}"
    )]
    Ended {
        /// As it was named.
        program: String,
        /// Its exit code or signal.
        status: String,
        /// Where it should have answered.
        endpoint: SocketAddr,
        /// What it wrote last.
        output: String,
    },
    /// It did not answer in time.
    #[error(
        "`{program}` did not answer on {endpoint} within {timeout:?}: does its configuration listen there? Its last lines:\n{output}"
    )]
    NotReady {
        /// As it was named.
        program: String,
        /// Where it should have answered.
        endpoint: SocketAddr,
        /// How long it was waited for.
        timeout: Duration,
        /// What it wrote last.
        output: String,
    },
    /// No such process.
    #[error(
        "there is no process {pid}, or it may not be looked at: name the running collector with --pid"
    )]
    NoProcess {
        /// As it was named.
        pid: u32,
    },
    /// Nothing listens.
    #[error(
        "cannot connect to {endpoint}: is the collector listening there? Name its address with --endpoint"
    )]
    Connect {
        /// Of the collector.
        endpoint: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It does not speak HTTP/2 without TLS.
    #[error(
        "{endpoint} does not speak HTTP/2: the bench needs a receiver of OTLP/gRPC without TLS"
    )]
    Handshake {
        /// Of the collector.
        endpoint: SocketAddr,
        /// What went wrong.
        #[source]
        source: h2::Error,
    },
    /// It broke its connections and did not take new ones.
    #[error(
        "{endpoint} broke the connection and was not back within {timeout:?}: look at what the collector wrote"
    )]
    WentAway {
        /// Of the collector.
        endpoint: SocketAddr,
        /// How long it was waited for.
        timeout: Duration,
    },
    /// A collector that the bench started failed under the load.
    #[error("the run was broken off; the collector's last lines:\n{output}\n")]
    BrokenOff {
        /// What it wrote last.
        output: String,
        /// What happened.
        #[source]
        source: Box<Self>,
    },
    /// The load cannot be made as described: the caller must ask for another.
    #[error("the load cannot be made: {0}")]
    Load(String),
    /// Signals cannot be listened for.
    #[error("cannot listen for signals")]
    Signals(#[source] io::Error),
    /// A thread or its runtime.
    #[error("cannot start a thread")]
    Thread(#[source] io::Error),
    /// A mistake of the bench.
    #[error("the {0}'s thread ended before its time")]
    ThreadEnded(&'static str),
    /// Ctrl-C, SIGTERM, or the terminal that went away.
    #[error("interrupted")]
    Interrupted,
}
