//! The reasons why a run could not be made: each names the thing, the place, and what to do.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use thiserror::Error;

/// The reason why a run could not be made.
#[derive(Debug, Error)]
pub enum BenchError {
    /// The backend's address is taken.
    #[error(
        "the backend cannot listen on {address}: choose another with --backend, and let the collector export there"
    )]
    Listen {
        /// The backend's address.
        address: SocketAddr,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// Something answers already where the collector is to be started.
    #[error(
        "something listens on {endpoint} already: stop it, or choose another with --endpoint; to measure it, name it with --pid"
    )]
    EndpointTaken {
        /// The collector's address.
        endpoint: SocketAddr,
    },
    /// The program cannot be started.
    #[error("cannot start `{program}`")]
    Start {
        /// The program as it was named.
        program: String,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// The program ended while it should have come up.
    #[error(
        "`{program}` ended ({status}) before it answered on {endpoint}; its last lines:\n{output}"
    )]
    Ended {
        /// The program as it was named.
        program: String,
        /// Its exit code or signal.
        status: String,
        /// The address where it should have answered.
        endpoint: SocketAddr,
        /// The last lines of its output.
        output: String,
    },
    /// The program did not answer in time.
    #[error(
        "`{program}` did not answer on {endpoint} within {timeout:?}: does its configuration listen there? Its last lines:\n{output}"
    )]
    NotReady {
        /// The program as it was named.
        program: String,
        /// The address where it should have answered.
        endpoint: SocketAddr,
        /// The time for which the bench waited.
        timeout: Duration,
        /// The last lines of its output.
        output: String,
    },
    /// There is no such process.
    #[error(
        "there is no process {pid}, or it may not be looked at: name the running collector with --pid"
    )]
    NoProcess {
        /// The process as it was named.
        pid: u32,
    },
    /// Nothing listens at the collector's address.
    #[error(
        "cannot connect to {endpoint}: is the collector listening there? Name its address with --endpoint"
    )]
    Connect {
        /// The collector's address.
        endpoint: SocketAddr,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// The collector does not speak HTTP/2 without TLS.
    #[error(
        "{endpoint} does not speak HTTP/2: the bench needs a receiver of OTLP/gRPC without TLS"
    )]
    Handshake {
        /// The collector's address.
        endpoint: SocketAddr,
        /// The error of the handshake.
        #[source]
        source: h2::Error,
    },
    /// The collector broke its connections and did not take new ones.
    #[error(
        "{endpoint} broke the connection and was not back within {timeout:?}: look at what the collector wrote"
    )]
    WentAway {
        /// The collector's address.
        endpoint: SocketAddr,
        /// The time for which the bench waited.
        timeout: Duration,
    },
    /// A collector that the bench started failed under the load.
    #[error("the run was broken off; the collector's last lines:\n{output}\n")]
    BrokenOff {
        /// The last lines of its output.
        output: String,
        /// The error that ended the run.
        #[source]
        source: Box<Self>,
    },
    /// The load cannot be made as described: the caller must ask for another.
    #[error("the load cannot be made: {0}")]
    Load(String),
    /// Signals cannot be listened for.
    #[error("cannot listen for signals")]
    Signals(#[source] io::Error),
    /// A thread or its runtime cannot be started.
    #[error("cannot start a thread")]
    Thread(#[source] io::Error),
    /// A thread ended too early, by a mistake of the bench.
    #[error("the {0}'s thread ended before its time")]
    ThreadEnded(&'static str),
    /// The run was ended by Ctrl-C, by SIGTERM, or by a terminal that went away.
    #[error("interrupted")]
    Interrupted,
}
