//! The reasons why the program did not start.

use std::io;

use spandrel_admin::BindError;

/// The reason why the program did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The collector did not start.
    #[error(transparent)]
    Collector(#[from] spandrel_collector::StartError),
    /// Health or metrics have no port.
    #[error(
        "{what} cannot listen on {endpoint}; is another collector running? stop it or choose another port"
    )]
    Listen {
        /// The component that wanted to listen.
        what: String,
        /// The endpoint.
        endpoint: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The admin API cannot listen.
    #[error("extension `{id}` cannot start")]
    Admin {
        /// The extension.
        id: String,
        /// The cause.
        #[source]
        source: BindError,
    },
    /// The collector cannot wait for signals.
    #[error("cannot wait for signals")]
    Signals(#[source] io::Error),
}
