//! The settings of an operator: allowed hosts, addresses, sizes and times, and which password goes
//! where.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::fetch::address::Network;
use crate::fetch::error::FetchError;
use crate::fetch::host::HostPort;
use crate::fetch::source::{Reference, RemoteSource, Url, usual_port};

/// The limits of fetching, and the passwords for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchSettings {
    /// Hosts that may be asked over TLS. If this and `insecure_hosts` are empty, nothing is
    /// fetched.
    pub allowed_hosts: Vec<HostPort>,
    /// Hosts that may be asked with or without TLS.
    pub insecure_hosts: Vec<HostPort>,
    /// Addresses that may be connected to though they are not public.
    pub allow_private: Vec<Network>,
    /// A file with more authorities than those of the system.
    pub ca_file: Option<PathBuf>,
    /// Passwords, each for one host: a server, or a registry.
    pub credentials: Vec<Credentials>,
    /// The largest module in bytes. 64 MiB: components with a whole interpreter have some 40 MiB.
    pub module_bytes: u64,
    /// The time limit for all of one module: names, connections, redirects, bodies. 60 s: a module
    /// of 64 MiB at ten Mbit/s.
    pub timeout: Duration,
    /// The directory that keeps fetched content; `None` fetches it each time.
    pub store: Option<PathBuf>,
}

impl Default for FetchSettings {
    fn default() -> Self {
        Self {
            allowed_hosts: Vec::new(),
            insecure_hosts: Vec::new(),
            allow_private: Vec::new(),
            ca_file: None,
            credentials: Vec::new(),
            module_bytes: 64 << 20,
            timeout: Duration::from_secs(60),
            store: None,
        }
    }
}

/// A user and a password, which are sent to one host, and only over TLS. Those of a registry are
/// also sent to the host that issues its tokens, if that host may be asked.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The host.
    pub host: HostPort,
    /// The user.
    pub username: String,
    /// The password. It is never shown.
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("host", &self.host)
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

impl FetchSettings {
    /// Checks that the host of this source may be asked, with TLS or without.
    ///
    /// # Errors
    /// Fails if it may not.
    pub fn may_ask(&self, source: &RemoteSource) -> Result<(), FetchError> {
        match source {
            RemoteSource::Url(url) => self.may_ask_at(url),
            RemoteSource::Oci(reference) => self.may_ask_at(&self.registry(reference, "")),
        }
    }

    pub(crate) fn may_ask_at(&self, url: &Url) -> Result<(), FetchError> {
        let is_insecure = url.is_listed(&self.insecure_hosts);
        let host = || url.authority();
        if !is_insecure && !url.is_listed(&self.allowed_hosts) {
            return Err(FetchError::Host { host: host() });
        }
        if !url.is_secure && !is_insecure {
            return Err(FetchError::Insecure { host: host() });
        }
        Ok(())
    }

    /// Returns the address of a path in a registry's API. It is without TLS only where that is
    /// listed.
    pub(crate) fn registry(&self, reference: &Reference, path: &str) -> Url {
        let registry = &reference.registry;
        let of = |is_secure| Url {
            is_secure,
            host: registry.host.clone(),
            port: registry.port.unwrap_or(usual_port(is_secure)),
            path: format!("/v2/{}/{path}", reference.repository),
        };
        let plain = of(false);
        if plain.is_listed(&self.insecure_hosts) {
            plain
        } else {
            of(true)
        }
    }

    /// Returns the value of `authorization` for this host, if there is one.
    pub(crate) fn password(&self, url: &Url) -> Option<String> {
        let mut known = self.credentials.iter();
        let known = known.find(|known| url.is_listed(std::slice::from_ref(&known.host)));
        let Credentials {
            username, password, ..
        } = known.filter(|_| url.is_secure)?;
        let both = BASE64_STANDARD.encode(format!("{username}:{password}"));
        Some(format!("Basic {both}"))
    }
}
