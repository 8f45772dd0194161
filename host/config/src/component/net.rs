//! Addresses, TLS and keepalive of components that listen and that connect.

use std::fmt;
use std::path::PathBuf;

use spandrel_otlp::exporter::{ClientKeepalive, ClientTls};
use spandrel_otlp::receiver::{Keepalive, ServerTls};
use spandrel_otlp::tls::{REREAD_INTERVAL, TlsVersion, TlsVersions};

use crate::text::section::Section;

/// An address to listen on. The host may still be a name: it is resolved when the socket is bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// Host name or address, without brackets; empty for every address of the machine.
    pub host: String,
    /// The port; 0 lets the system choose.
    pub port: u16,
}

impl Listen {
    pub(crate) fn local(port: u16) -> Self {
        Self {
            host: "localhost".to_owned(),
            port,
        }
    }

    /// Reads `host:port`.
    ///
    /// # Errors
    /// The text for the operator: what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || "write host:port, such as localhost:4317 or 0.0.0.0:4317".to_owned();
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let port = port.parse().map_err(|_| wrong())?;
        let host = match host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
        {
            Some(address) if address.parse::<std::net::Ipv6Addr>().is_ok() => address,
            Some(_) => return Err(wrong()),
            None if host.contains([':', '/', '[', ']', ' ']) => return Err(wrong()),
            None => host,
        };
        Ok(Self {
            host: host.to_owned(),
            port,
        })
    }

    pub(crate) fn read(section: &Section<'_>, default_port: u16) -> Self {
        section
            .parsed("endpoint", Self::parse)
            .unwrap_or_else(|| Self::local(default_port))
    }
}

impl Listen {
    /// Returns true if only this machine can reach it. A name other than `localhost` is not looked
    /// up, and may be any address.
    pub(crate) fn is_loopback(&self) -> bool {
        let address = self.host.parse::<std::net::IpAddr>();
        self.host.eq_ignore_ascii_case("localhost")
            || address.is_ok_and(|address| address.is_loopback())
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// The endpoint on which the admin API listens, and to which its clients connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// A unix socket.
    Unix(PathBuf),
    /// An address.
    Tcp(Listen),
}

impl Endpoint {
    /// Reads `host:port`.
    ///
    /// # Errors
    /// The text for the operator: what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text.strip_prefix("unix:") {
            // gRPC and curl users write it as `unix:///path`.
            Some(path) => {
                let path = path.strip_prefix("//").unwrap_or(path);
                if path.is_empty() {
                    return Err("write unix:PATH, such as unix:/run/spandrel/admin.sock".to_owned());
                }
                Ok(Self::Unix(PathBuf::from(path)))
            }
            None => Listen::parse(text).map(Self::Tcp).map_err(|_| {
                "write unix:PATH, such as unix:/run/spandrel/admin.sock, or host:port, such as localhost:13134".to_owned()
            }),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(listen) => listen.fmt(f),
        }
    }
}

/// Reads the `tls` section of a server; `None` if it is missing.
pub(crate) fn read_server_tls(parent: &Section<'_>) -> Option<ServerTls> {
    parent.node("tls")?;
    let section = parent.section("tls");
    let path = |key| section.string(key).map(PathBuf::from);
    let (cert_file, key_file) = (path("cert_file"), path("key_file"));
    let client_ca_file = path("client_ca_file");
    let versions = read_versions(&section);
    let reload_interval = section.duration_positive("reload_interval", REREAD_INTERVAL);
    if !section.boolean("client_ca_file_reload", true) {
        let what = "all files are read again, each `reload_interval`";
        section.warn_key("client_ca_file_reload", what, "remove it");
    }
    section.not_offered("client_ca_pem", "write it to a `client_ca_file`");
    not_offered(&section);
    section.required("cert_file", "/path/to/cert.pem");
    section.required("key_file", "/path/to/key.pem");
    Some(ServerTls {
        client_ca_file,
        versions,
        reload_interval,
        ..ServerTls::new(cert_file?, key_file?)
    })
}

/// Reads the `tls` section of a client.
pub(crate) fn read_client_tls(parent: &Section<'_>) -> ClientTls {
    let section = parent.section("tls");
    let path = |key| section.string(key).map(PathBuf::from);
    not_offered(&section);
    let tls = ClientTls {
        insecure: section.boolean("insecure", false),
        insecure_skip_verify: section.boolean("insecure_skip_verify", false),
        ca_file: path("ca_file"),
        include_system_ca_certs_pool: section.boolean("include_system_ca_certs_pool", false),
        cert_file: path("cert_file"),
        key_file: path("key_file"),
        server_name_override: section.string("server_name_override"),
        versions: read_versions(&section),
        reload_interval: section.duration_positive("reload_interval", REREAD_INTERVAL),
    };
    if tls.cert_file.is_some() != tls.key_file.is_some() {
        section.wrong(
            "a client certificate needs both `cert_file` and `key_file`",
            "give both, or none",
        );
    }
    tls
}

fn read_versions(section: &Section<'_>) -> TlsVersions {
    let version = |key| {
        section.parsed(key, |text| match text {
            "1.2" => Ok(TlsVersion::V1_2),
            "1.3" => Ok(TlsVersion::V1_3),
            _ => Err("write \"1.2\" or \"1.3\": lower versions are not spoken".to_owned()),
        })
    };
    let default = TlsVersions::default();
    let versions = TlsVersions {
        min: version("min_version").unwrap_or(default.min),
        max: version("max_version").unwrap_or(default.max),
    };
    if versions.max < versions.min {
        section.wrong_key(
            "max_version",
            "it is lower than `min_version`",
            "write \"1.3\"",
        );
    }
    versions
}

/// Reports keys that the Collector has on both sides and Spandrel does not offer.
fn not_offered(section: &Section<'_>) {
    for (key, instead) in [
        ("cert_pem", "write it to a `cert_file`"),
        ("key_pem", "write it to a `key_file`"),
        ("ca_pem", "write it to a file and name that one"),
        (
            "cipher_suites",
            "remove it: there are none but those with forward secrecy and authenticated encryption",
        ),
        (
            "include_insecure_cipher_suites",
            "remove it: there are none",
        ),
        (
            "curve_preferences",
            "remove it: X25519, P256 and P384 are offered, in this order",
        ),
        ("tpm", "write the key to a `key_file`"),
    ] {
        section.not_offered(key, instead);
    }
}

/// Reads the keepalive pings of a client; `None` for a time of 0, which means never in gRPC.
pub(crate) fn read_client_keepalive(parent: &Section<'_>) -> Option<ClientKeepalive> {
    let section = parent.section("keepalive");
    let default = ClientKeepalive::default();
    let time = section.duration("time", default.time);
    let keepalive = ClientKeepalive {
        time,
        timeout: section.duration_positive("timeout", default.timeout),
        permit_without_stream: section
            .boolean("permit_without_stream", default.permit_without_stream),
    };
    (!time.is_zero()).then_some(keepalive)
}

/// Reads the keepalive and lifetime settings of a server's connections.
pub(crate) fn read_server_keepalive(parent: &Section<'_>) -> Keepalive {
    let default = Keepalive::default();
    let keepalive = parent.section("keepalive");
    keepalive.not_offered(
        "enforcement_policy",
        "remove it: pings of clients are answered as they come",
    );
    let section = keepalive.section("server_parameters");
    // In the Collector, 0 means never.
    let optional = |key| section.duration_opt(key).filter(|time| !time.is_zero());
    Keepalive {
        max_connection_idle: optional("max_connection_idle"),
        max_connection_age: optional("max_connection_age"),
        max_connection_age_grace: optional("max_connection_age_grace"),
        time: section.duration_positive("time", default.time),
        timeout: section.duration_positive("timeout", default.timeout),
    }
}
