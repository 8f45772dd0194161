//! The reasons why a receiver cannot listen.

use std::io;

use crate::file_value::FileError;

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
