//! Hosts by name, as an operator lists them.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// A host and its port. If no port is written, it means the usual port of the scheme.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    /// The host in lower case; an IPv6 address is without its brackets.
    pub host: String,
    /// The port, if one was written.
    pub port: Option<u16>,
}

impl HostPort {
    /// Parses `host`, `host:port`, `[::1]` or `[::1]:port`; the error says what to write instead.
    ///
    /// # Errors
    /// Fails if the text is none of these.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong =
            || "write a host with or without a port, such as ghcr.io or localhost:5000".to_owned();
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, rest) = rest.split_once(']').ok_or_else(wrong)?;
                host.parse::<Ipv6Addr>().map_err(|_| wrong())?;
                match rest {
                    "" => (host, None),
                    rest => (host, Some(rest.strip_prefix(':').ok_or_else(wrong)?)),
                }
            }
            None => match text.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            },
        };
        let is_name = !host.is_empty()
            && host.len() <= 253
            && host
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'));
        if !is_name && host.parse::<IpAddr>().is_err() {
            return Err(wrong());
        }
        let port = port
            .map(|port| {
                port.parse()
                    .ok()
                    .filter(|port| *port != 0)
                    .ok_or_else(wrong)
            })
            .transpose()?;
        Ok(Self {
            host: host.to_ascii_lowercase(),
            port,
        })
    }

    /// Returns true if this entry of a list means that host at that port. `usual` is the usual port
    /// of the scheme.
    #[must_use]
    pub(crate) fn means(&self, host: &str, port: u16, usual: u16) -> bool {
        self.host == host && self.port.unwrap_or(usual) == port
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]", self.host)?;
        } else {
            f.write_str(&self.host)?;
        }
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A host is read as it is written, and text that only looks like a host is an error.
    #[test]
    fn hosts_are_read() {
        for (text, host, port) in [
            ("GHCR.io", "ghcr.io", None),
            ("localhost:5000", "localhost", Some(5000)),
            ("127.0.0.1:80", "127.0.0.1", Some(80)),
            ("[::1]", "::1", None),
            ("[::1]:443", "::1", Some(443)),
        ] {
            let read = HostPort::parse(text).expect(text);
            assert_eq!((read.host.as_str(), read.port), (host, port), "{text}");
            assert_eq!(read.to_string(), text.to_ascii_lowercase());
        }
        for text in [
            "", ":80", "a:b", "a:0", "a:70000", "a/b", "u@h", "::1", "[a]", "[::1]x", "*.b c",
        ] {
            assert!(HostPort::parse(text).is_err(), "{text}");
        }
    }
}
