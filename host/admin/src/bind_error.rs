//! The reasons why the admin API does not listen.

use std::io;
use std::path::PathBuf;

/// The fewest bytes of a token. A shorter one can be found by trying.
pub(crate) const SHORTEST_TOKEN: usize = 16;

/// The reason why it does not listen.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The socket's folder, or the file at its path, is not safe to use.
    #[error("{} cannot be the admin socket: {why}", path.display())]
    Unsafe {
        /// The path that is not safe.
        path: PathBuf,
        /// The reason, and the remedy.
        why: String,
    },
    /// Another process listens there.
    #[error("another collector is using {0}; stop it, or choose another `endpoint`")]
    InUse(String),
    /// The system refuses to listen.
    #[error("the admin API cannot listen on {endpoint}")]
    Listen {
        /// The endpoint.
        endpoint: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The token cannot be read.
    #[error("the token file {} cannot be read", path.display())]
    TokenFile {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The token is too easily guessed.
    #[error(
        "the token in {} is shorter than {} bytes; write a longer one, such as `head -c 32 /dev/urandom | base64`",
        path.display(),
        SHORTEST_TOKEN
    )]
    TokenTooShort {
        /// The file with the token.
        path: PathBuf,
    },
}
