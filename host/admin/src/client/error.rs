//! The reasons why the client has no answer that it could use.

use std::io;
use std::path::PathBuf;

/// The reason why the client has no answer that it could use.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// An environment variable or a name is wrong. No request was sent.
    #[error("{0}")]
    Usage(String),
    /// No endpoint has a listener.
    #[error("no collector is listening on {0}: is it running, with the `admin` extension?")]
    NobodyListens(String),
    /// The endpoint does not answer.
    #[error("cannot connect to {endpoint}")]
    Connect {
        /// The endpoint.
        endpoint: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The collector refused, in its own words.
    #[error("{error}")]
    Refused {
        /// The HTTP status.
        code: u16,
        /// The reason.
        error: String,
    },
    /// The connection ended before the answer did.
    #[error("the connection to the collector broke; `spandrel plugin history` shows the outcome")]
    Broken(#[source] hyper::Error),
    /// There was no answer within so many seconds.
    #[error("no answer within {0} s; `spandrel plugin history` shows the outcome")]
    Late(u64),
    /// The answer is another version's.
    #[error("the answer is not one of this version's admin API")]
    NotUnderstood(#[source] serde_json::Error),
    /// A file on this machine cannot be read.
    #[error("cannot read {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

impl ClientError {
    /// Adds a hint after a swap that named a path: on the collector's machine that path may be
    /// another.
    pub fn after_path(self, readable_here: bool) -> Self {
        match self {
            Self::Refused { code: 422, error } if readable_here && error.contains("read") => {
                Self::Refused {
                    code: 422,
                    error: format!("{error}; add --upload to send the file itself"),
                }
            }
            other => other,
        }
    }
}
