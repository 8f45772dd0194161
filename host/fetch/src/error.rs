//! Why nothing was fetched.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::digest::Digest;

/// Why there is no fetcher.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The file with authorities cannot be read, or has none in it.
    #[error("cannot read authorities' certificates from `{}`", path.display())]
    Authorities {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// TLS does not begin.
    #[error("cannot set up TLS")]
    Tls(#[from] rustls::Error),
}

/// Why nothing was fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The host is not one of those that may be asked.
    #[error(
        "`{host}` is not one of the hosts that plugins may come from: \
         add it to `service::plugins::allowed_hosts`"
    )]
    Host {
        /// Which host.
        host: String,
    },
    /// The way there is not encrypted.
    #[error(
        "`{host}` may not be asked without TLS: write https, \
         or add it to `service::plugins::insecure_hosts`"
    )]
    Insecure {
        /// Which host.
        host: String,
    },
    /// The name leads to an address that is not public.
    #[error(
        "`{host}` is at {address}, which is not a public address: \
         if that is right, add it to `service::plugins::allow_private`"
    )]
    Private {
        /// Which host.
        host: String,
        /// Where it is.
        address: IpAddr,
    },
    /// The name is not known.
    #[error("cannot look up `{host}`: check the name, and that this machine has a name server")]
    Resolve {
        /// Which host.
        host: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Nobody answers there, or it is somebody else.
    #[error("cannot connect to `{host}`: check that it runs, the network, and its certificate")]
    Connect {
        /// Which host.
        host: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The connection broke.
    #[error("the connection to `{host}` broke")]
    Broken {
        /// Which host.
        host: String,
        /// Why.
        #[source]
        source: hyper::Error,
    },
    /// It took too long.
    #[error(
        "`{name}` did not come within {} ms: check the network, or raise \
         `service::plugins::fetch_timeout`",
        limit.as_millis()
    )]
    Time {
        /// What.
        name: String,
        /// The time it had.
        limit: Duration,
    },
    /// The server refuses.
    #[error("`{name}` is answered with {status}: {}", remedy(*status))]
    Status {
        /// What.
        name: String,
        /// With which code.
        status: u16,
    },
    /// It leads somewhere else too often, or nowhere.
    #[error("`{name}` leads to other places: {problem}; name the last of them")]
    Redirect {
        /// What.
        name: String,
        /// In which way.
        problem: &'static str,
    },
    /// There is more of it than may be.
    #[error("`{name}` is larger than {limit_bytes} bytes: build it in release mode and strip it")]
    TooLarge {
        /// What.
        name: String,
        /// What may be.
        limit_bytes: u64,
    },
    /// It is something else than what is pinned.
    #[error("`{name}` has {found}, and {pinned} is asked for: publish that, or pin the other one")]
    Digest {
        /// What.
        name: String,
        /// What is pinned.
        pinned: Digest,
        /// What came.
        found: Digest,
    },
    /// The answer makes no sense.
    #[error("`{name}`: {problem}")]
    Answer {
        /// What.
        name: String,
        /// In which way.
        problem: String,
    },
    /// It has no name that a file here could have.
    #[error("cannot be encoded as a request: {0}")]
    Request(#[from] http::Error),
}

/// What can be done about a status.
fn remedy(status: u16) -> &'static str {
    match status {
        401 | 403 => "check `service::plugins::credentials`",
        404 | 410 => "check the name",
        429 | 500.. => "try again later",
        _ => "check the name and the server",
    }
}

impl FetchError {
    /// Whether it may come later without anybody changing anything here: the source is down, or the
    /// way to it.
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
