//! Errors of setting up a fetcher and of fetching.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::digest::Digest;

/// The reason why a fetcher could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum FetchSetupError {
    /// The file with certificate authorities cannot be read, or contains none.
    #[error("cannot read authorities' certificates from `{}`", path.display())]
    Authorities {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// TLS cannot be set up.
    #[error("cannot set up TLS")]
    Tls(#[from] rustls::Error),
}

/// The reason why a fetch failed.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The host is not one of those that may be asked.
    #[error(
        "`{host}` is not one of the hosts that plugins may come from: \
         add it to `service::plugins::allowed_hosts`"
    )]
    Host {
        /// The host.
        host: String,
    },
    /// The connection would not be encrypted.
    #[error(
        "`{host}` may not be asked without TLS: write https, \
         or add it to `service::plugins::insecure_hosts`"
    )]
    Insecure {
        /// The host.
        host: String,
    },
    /// The host resolves to an address that is not public.
    #[error(
        "`{host}` is at {address}, which is not a public address: \
         if that is right, add it to `service::plugins::allow_private`"
    )]
    Private {
        /// The host.
        host: String,
        /// The address that it resolves to.
        address: IpAddr,
    },
    /// The host cannot be resolved.
    #[error("cannot look up `{host}`: check the name, and that this machine has a name server")]
    Resolve {
        /// The host.
        host: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// No connection can be made, or the server cannot prove that it is this host.
    #[error("cannot connect to `{host}`: check that it runs, the network, and its certificate")]
    Connect {
        /// The host.
        host: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The connection broke.
    #[error("the connection to `{host}` broke")]
    Broken {
        /// The host.
        host: String,
        /// The cause.
        #[source]
        source: hyper::Error,
    },
    /// The fetch took too long.
    #[error(
        "`{name}` did not come within {} ms: check the network, or raise \
         `service::plugins::fetch_timeout`",
        limit.as_millis()
    )]
    Time {
        /// The source that was asked for.
        name: String,
        /// The time limit.
        limit: Duration,
    },
    /// The server answered with a status other than success.
    #[error("`{name}` is answered with {status}: {}", remedy(*status))]
    Status {
        /// The address that was asked for.
        name: String,
        /// The status code.
        status: u16,
    },
    /// The server redirects too often, or to an address that may not be followed.
    #[error("`{name}` leads to other places: {problem}; name the last of them")]
    Redirect {
        /// The address that was asked for.
        name: String,
        /// The problem with the redirect.
        problem: &'static str,
    },
    /// The content is larger than the limit.
    #[error("`{name}` is larger than {limit_bytes} bytes: build it in release mode and strip it")]
    TooLarge {
        /// The address or reference that was asked for.
        name: String,
        /// The limit in bytes.
        limit_bytes: u64,
    },
    /// The content does not have the pinned digest.
    #[error(
        "`{name}` has sha256:{found}, and sha256:{pinned} is asked for: \
         publish that, or pin the other one"
    )]
    Digest {
        /// The address or reference that was asked for.
        name: String,
        /// The pinned digest.
        pinned: Digest,
        /// The digest of the content.
        found: Digest,
    },
    /// The answer cannot be used.
    #[error("`{name}`: {problem}")]
    Answer {
        /// The address or reference that was asked for.
        name: String,
        /// The problem with the answer.
        problem: String,
    },
    /// The request cannot be encoded, for example because a header value is not valid.
    #[error("cannot be encoded as a request: {0}")]
    Request(#[from] http::Error),
}

/// Says what an operator can do about a status.
fn remedy(status: u16) -> &'static str {
    match status {
        401 | 403 => "check `service::plugins::credentials`",
        404 | 410 => "check the name",
        429 | 500.. => "try again later",
        _ => "check the name and the server",
    }
}

impl FetchError {
    /// Returns true if the fetch may work later without a change here: the source is down, or the
    /// network on the way to it.
    #[must_use]
    pub fn is_unreachable(&self) -> bool {
        match self {
            Self::Resolve { .. }
            | Self::Connect { .. }
            | Self::Broken { .. }
            | Self::Time { .. } => true,
            Self::Status { status, .. } => matches!(status, 408 | 429 | 500..),
            _ => false,
        }
    }
}
