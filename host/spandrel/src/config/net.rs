//! What listens and what connects: addresses, TLS and keepalive.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::section::Section;

/// An address to listen on. The host may still be a name: it is resolved when the socket is bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// Host name or address, without brackets; empty for every address of the machine.
    pub host: String,
    /// 0 lets the system choose.
    pub port: u16,
}

impl Listen {
    pub(crate) fn local(port: u16) -> Self {
        Self {
            host: "localhost".to_owned(),
            port,
        }
    }

    pub(crate) fn parse(text: &str) -> Result<Self, String> {
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

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// The lowest version of TLS that is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsVersion {
    /// TLS 1.2.
    V1_2,
    /// TLS 1.3.
    V1_3,
}

/// TLS of a listening socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerTls {
    /// PEM file with the certificate chain.
    pub cert_file: PathBuf,
    /// PEM file with its private key.
    pub key_file: PathBuf,
    /// PEM file with the authorities of client certificates; when given, clients must have one.
    pub client_ca_file: Option<PathBuf>,
    /// The lowest version spoken.
    pub min_version: TlsVersion,
}

impl ServerTls {
    /// The `tls` section of a server; none when it is not there.
    pub(crate) fn read(parent: &Section<'_>) -> Option<Self> {
        parent.node("tls")?;
        let section = parent.section("tls");
        let cert_file = section.string("cert_file").map(PathBuf::from);
        let key_file = section.string("key_file").map(PathBuf::from);
        let client_ca_file = section.string("client_ca_file").map(PathBuf::from);
        let min_version = read_min_version(&section);
        section.not_offered(
            "reload_interval",
            "restart spandrel to read new certificates",
        );
        section.required("cert_file", "/path/to/cert.pem");
        section.required("key_file", "/path/to/key.pem");
        Some(Self {
            cert_file: cert_file?,
            key_file: key_file?,
            client_ca_file,
            min_version,
        })
    }
}

/// TLS towards a server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientTls {
    /// PEM file with authorities to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// Certificate and key, both PEM files, to show to the server.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// The name that the server's certificate must carry, when it is not the endpoint's host.
    pub server_name_override: Option<String>,
}

/// The `tls` section of a client, and whether it says `insecure`.
pub(crate) fn read_client_tls(parent: &Section<'_>) -> (ClientTls, bool) {
    let section = parent.section("tls");
    let insecure = section.boolean("insecure", false);
    let cert_file = section.string("cert_file").map(PathBuf::from);
    let key_file = section.string("key_file").map(PathBuf::from);
    let _: TlsVersion = read_min_version(&section);
    if section.boolean("insecure_skip_verify", false) {
        section.wrong_key(
            "insecure_skip_verify",
            "not offered: a connection that trusts anybody protects nothing",
            "give the server's authority in `ca_file`, or use an http:// endpoint",
        );
    }
    if cert_file.is_some() != key_file.is_some() {
        section.wrong(
            "a client certificate needs both `cert_file` and `key_file`",
            "give both, or none",
        );
    }
    let tls = ClientTls {
        ca_file: section.string("ca_file").map(PathBuf::from),
        identity: cert_file.zip(key_file),
        server_name_override: section.string("server_name_override"),
    };
    (tls, insecure)
}

fn read_min_version(section: &Section<'_>) -> TlsVersion {
    let version = section.parsed("min_version", |text| match text {
        "1.2" => Ok(TlsVersion::V1_2),
        "1.3" => Ok(TlsVersion::V1_3),
        _ => Err("write \"1.2\" or \"1.3\"; older versions are not safe".to_owned()),
    });
    version.unwrap_or(TlsVersion::V1_2)
}

/// Keepalive pings of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientKeepalive {
    /// Idle time after which a ping is sent.
    pub time: Duration,
    /// How long to wait for its answer.
    pub timeout: Duration,
    /// Whether to ping when no call is in flight.
    pub permit_without_stream: bool,
}

impl ClientKeepalive {
    pub(crate) fn read(parent: &Section<'_>) -> Option<Self> {
        if !parent.has("keepalive") {
            return None;
        }
        let section = parent.section("keepalive");
        Some(Self {
            time: section.duration_positive("time", Duration::from_secs(10)),
            timeout: section.duration_positive("timeout", Duration::from_secs(10)),
            permit_without_stream: section.boolean("permit_without_stream", false),
        })
    }
}

/// Life of a server's connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerKeepalive {
    /// Connections older than this are asked to go away, so that load balancers can balance.
    pub max_connection_age: Option<Duration>,
    /// How long calls in flight may go on after that.
    pub max_connection_age_grace: Option<Duration>,
    /// Idle time after which a ping is sent.
    pub time: Duration,
    /// How long to wait for its answer.
    pub timeout: Duration,
}

impl ServerKeepalive {
    pub(crate) fn read(parent: &Section<'_>) -> Self {
        let keepalive = parent.section("keepalive");
        keepalive.not_offered(
            "enforcement_policy",
            "remove it: pings of clients are answered as they come",
        );
        let section = keepalive.section("server_parameters");
        section.not_offered(
            "max_connection_idle",
            "remove it: idle connections cost little",
        );
        Self {
            max_connection_age: section
                .duration_opt("max_connection_age")
                .filter(|age| !age.is_zero()),
            max_connection_age_grace: section
                .duration_opt("max_connection_age_grace")
                .filter(|grace| !grace.is_zero()),
            // grpc-go waits two hours; behind NAT and load balancers dead peers must be found sooner.
            time: section.duration_positive("time", Duration::from_secs(60)),
            timeout: section.duration_positive("timeout", Duration::from_secs(20)),
        }
    }
}
