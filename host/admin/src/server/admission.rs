//! Decides who may ask: no browsers, and on an address only clients that know the token.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, header};
use tokio::net::{TcpStream, UnixStream};

use super::refused;
use crate::token::Token;
use crate::web::Answer;

/// The client at the other end of a connection.
#[derive(Debug)]
pub(super) struct Peer {
    /// The client's name in the log: the kernel's record of a local process, or an address.
    who: String,
    /// True if the connection does not leave the machine, like one from a browser on it.
    is_local_tcp: bool,
}

impl Peer {
    pub(super) fn of_unix(stream: &UnixStream) -> Self {
        let who = match stream.peer_cred() {
            Ok(process) => match process.pid() {
                Some(pid) => format!("uid {} pid {pid}", process.uid()),
                None => format!("uid {}", process.uid()),
            },
            Err(_) => "unknown".to_owned(),
        };
        Self {
            who,
            is_local_tcp: false,
        }
    }

    pub(super) fn of_tcp(stream: &TcpStream, address: SocketAddr) -> Self {
        let local = stream.local_addr();
        Self {
            who: address.to_string(),
            is_local_tcp: local.is_ok_and(|local| local.ip().to_canonical().is_loopback()),
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.who)
    }
}

/// The reason why a client may not ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum AuthorizationError {
    /// A page in a browser.
    #[error("requests of web pages are not answered")]
    Page,
    /// A page in a browser, whose host name was made to lead here.
    #[error("the Host header names another machine; ask localhost or the address")]
    Host,
    /// The request has no token.
    #[error("a bearer token is needed; send the one in the collector's `token_file`")]
    NoToken,
    /// The request has a wrong token.
    #[error("the bearer token is not the one in the collector's `token_file`")]
    WrongToken,
}

impl AuthorizationError {
    pub(super) fn answer(self) -> Answer {
        match self {
            Self::Page | Self::Host => refused(403, self.to_string()),
            Self::NoToken | Self::WrongToken => {
                refused(401, self.to_string()).with(header::WWW_AUTHENTICATE, "Bearer")
            }
        }
    }
}

/// The admission rules of one listener.
#[derive(Debug)]
pub(super) struct Admission {
    token: Option<Token>,
    /// The configured host of an address.
    host: Option<String>,
}

impl Admission {
    pub(super) fn new(token: Option<Token>, host: Option<String>) -> Self {
        Self { token, host }
    }

    pub(super) fn check(&self, peer: &Peer, headers: &HeaderMap) -> Result<(), AuthorizationError> {
        if headers.contains_key(header::ORIGIN) {
            return Err(AuthorizationError::Page);
        }
        // A browser sends the name of the page's machine, which its owner can point at the
        // loopback. On other connections it may be any name that leads here.
        if peer.is_local_tcp && !self.is_own_host(headers) {
            return Err(AuthorizationError::Host);
        }
        let Some(token) = &self.token else {
            return Ok(());
        };
        match bearer(headers) {
            None => Err(AuthorizationError::NoToken),
            Some(sent) if token.is(sent) => Ok(()),
            Some(_) => Err(AuthorizationError::WrongToken),
        }
    }

    fn is_own_host(&self, headers: &HeaderMap) -> bool {
        let mut hosts = headers.get_all(header::HOST).iter();
        let (Some(host), None) = (hosts.next(), hosts.next()) else {
            return false;
        };
        let Some(host) = host.to_str().ok().and_then(without_port) else {
            return false;
        };
        let configured = self.host.as_deref().unwrap_or_default();
        host.parse::<IpAddr>().is_ok()
            || host.eq_ignore_ascii_case("localhost")
            || (!configured.is_empty() && host.eq_ignore_ascii_case(configured))
    }
}

/// Returns the host in `host`, `host:port` or `[address]:port`.
fn without_port(host: &str) -> Option<&str> {
    if let Some(rest) = host.strip_prefix('[') {
        return rest.split_once(']').map(|(address, _)| address);
    }
    host.split(':').next()
}

fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let value = headers.get(header::AUTHORIZATION)?.as_bytes();
    let (scheme, token) = value.split_at_checked("Bearer ".len())?;
    scheme
        .eq_ignore_ascii_case(b"Bearer ")
        .then(|| token.trim_ascii())
}
