//! The source of a plugin, by name: `https://...`, or `oci://registry/repository:tag`.

use std::fmt;

use http::Uri;

use crate::digest::Digest;
use crate::fetch::host::HostPort;

/// The longest name of a source in bytes; servers commonly take no more.
const NAME_BYTES: usize = 2048;

/// The source of a plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RemoteSource {
    /// A file of an HTTP server.
    Url(Url),
    /// An artifact in a registry.
    Oci(Reference),
}

impl RemoteSource {
    /// Returns true if the text does not name a file of this machine.
    #[must_use]
    pub fn is_remote(text: &str) -> bool {
        text.contains("://")
    }

    /// Parses a source; the error says what to write instead.
    ///
    /// # Errors
    /// Fails if the text is neither.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.starts_with("oci://") {
            Reference::parse(text).map(Self::Oci)
        } else {
            Url::parse(text).map(Self::Url)
        }
    }

    /// Returns the digest in the name. Everything that is fetched must lead back to it.
    #[must_use]
    pub fn digest(&self) -> Option<Digest> {
        match self {
            Self::Url(_) => None,
            Self::Oci(reference) => reference.digest,
        }
    }
}

impl fmt::Display for RemoteSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(url) => url.fmt(f),
            Self::Oci(reference) => reference.fmt(f),
        }
    }
}

/// A web address without a user in it.
#[derive(Clone, PartialEq, Eq)]
pub struct Url {
    pub(crate) is_secure: bool,
    /// The host in lower case; an IPv6 address is without its brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// The path and the query. It begins with a slash.
    pub(crate) path: String,
}

impl Url {
    /// Parses an address; the error says what to write instead.
    ///
    /// # Errors
    /// Fails if the text is not an address, or has a user or a fragment in it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong =
            || "write https://host/path/plugin.wasm or oci://registry/repository:tag".to_owned();
        if text.len() > NAME_BYTES || text.contains('#') {
            return Err(wrong());
        }
        let uri: Uri = text.parse().map_err(|_| wrong())?;
        let is_secure = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(wrong()),
        };
        let authority = uri.authority().ok_or_else(wrong)?;
        if authority.as_str().contains('@') {
            return Err("write it without a user: passwords go into `credentials`".to_owned());
        }
        let HostPort { host, port } = HostPort::parse(authority.as_str()).map_err(|_| wrong())?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        Ok(Self {
            is_secure,
            host,
            port: port.unwrap_or(usual_port(is_secure)),
            path: if path.starts_with('/') {
                path.to_owned()
            } else {
                format!("/{path}")
            },
        })
    }

    /// Returns the address that a redirect leads to; `None` if it is not a web address.
    pub(crate) fn follow(&self, location: &str) -> Option<Self> {
        if location.starts_with("//") {
            let scheme = if self.is_secure { "https:" } else { "http:" };
            return Self::parse(&format!("{scheme}{location}")).ok();
        }
        if location.starts_with('/') {
            let path: Uri = location.parse().ok()?;
            let path = path.path_and_query()?.as_str().to_owned();
            return Some(Self {
                path,
                ..self.clone()
            });
        }
        Self::parse(location).ok()
    }

    /// Returns this address with more at the end of its path.
    pub(crate) fn appended(&self, more: &str) -> Self {
        let (path, query) = match self.path.split_once('?') {
            Some((path, query)) => (path, format!("?{query}")),
            None => (self.path.as_str(), String::new()),
        };
        Self {
            path: format!("{path}{more}{query}"),
            ..self.clone()
        }
    }

    pub(crate) fn has_origin_of(&self, other: &Self) -> bool {
        (self.is_secure, &self.host, self.port) == (other.is_secure, &other.host, other.port)
    }

    pub(crate) fn is_listed(&self, list: &[HostPort]) -> bool {
        let usual = usual_port(self.is_secure);
        list.iter()
            .any(|entry| entry.means(&self.host, self.port, usual))
    }

    /// Returns the host and port as the `Host` header has them.
    pub(crate) fn authority(&self) -> String {
        let port = (self.port != usual_port(self.is_secure)).then_some(self.port);
        let host = self.host.clone();
        HostPort { host, port }.to_string()
    }
}

pub(crate) fn usual_port(is_secure: bool) -> u16 {
    if is_secure { 443 } else { 80 }
}

impl fmt::Display for Url {
    /// Omits what follows a `?`: servers put secrets there.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_secure { "https" } else { "http" };
        let path = self.path.split('?').next().unwrap_or_default();
        write!(f, "{scheme}://{}{path}", self.authority())
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// An artifact in a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    pub(crate) registry: HostPort,
    pub(crate) repository: String,
    pub(crate) tag: Option<String>,
    /// The digest of the manifest.
    pub(crate) digest: Option<Digest>,
}

impl Reference {
    /// Parses `oci://registry/repository:tag@sha256:digest`, where the tag or the digest may be
    /// missing; the error says what to write instead.
    ///
    /// # Errors
    /// Fails if the text is not a reference.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || {
            "write oci://registry/repository:tag, oci://registry/repository@sha256:digest, or both"
                .to_owned()
        };
        let rest = text.strip_prefix("oci://").ok_or_else(wrong)?;
        let (registry, rest) = rest.split_once('/').ok_or_else(wrong)?;
        let (rest, digest) = match rest.split_once('@') {
            Some((rest, digest)) => (rest, Some(Digest::from_oci(digest).ok_or_else(wrong)?)),
            None => (rest, None),
        };
        let (repository, tag) = match rest.split_once(':') {
            Some((repository, tag)) => (repository, Some(tag)),
            None => (rest, None),
        };
        // This is the grammar of the distribution specification, a little wider where it does no
        // harm.
        let is_part = |part: &str| {
            let bytes = || part.bytes();
            bytes()
                .next()
                .is_some_and(|byte| byte.is_ascii_alphanumeric())
                && bytes().all(|byte| {
                    byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte)
                })
                && !part.contains("..")
        };
        let is_tag = |tag: &str| {
            (1..=128).contains(&tag.len())
                && !tag.starts_with(['.', '-'])
                && tag
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        };
        let fits = repository.len() <= 255
            && repository.split('/').all(is_part)
            && tag.is_none_or(is_tag)
            && (tag.is_some() || digest.is_some());
        if !fits {
            return Err(wrong());
        }
        Ok(Self {
            registry: HostPort::parse(registry).map_err(|_| wrong())?,
            repository: repository.to_owned(),
            tag: tag.map(str::to_owned),
            digest,
        })
    }

    /// Returns the digest or the tag that the registry is asked for.
    pub(crate) fn digest_or_tag(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.to_oci(),
            (None, Some(tag)) => tag.clone(),
            (None, None) => "latest".to_owned(),
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "oci://{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        match &self.digest {
            Some(digest) => write!(f, "@{}", digest.to_oci()),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Addresses are read as they are meant, and displayed without the parts that may be secret.
    #[test]
    fn addresses_are_read() {
        let url = Url::parse("https://Plugins.Example.com/a/b.wasm?token=secret").expect("good");
        assert_eq!(
            (url.host.as_str(), url.port, url.is_secure),
            ("plugins.example.com", 443, true)
        );
        assert_eq!(url.path, "/a/b.wasm?token=secret");
        assert_eq!(url.to_string(), "https://plugins.example.com/a/b.wasm");
        assert_eq!(format!("{url:?}"), url.to_string());
        assert_eq!(
            url.appended(".minisig").path,
            "/a/b.wasm.minisig?token=secret"
        );
        let local = Url::parse("http://[::1]:8080").expect("good");
        assert_eq!(local.to_string(), "http://[::1]:8080/");
        for text in [
            "",
            "plugin.wasm",
            "/a",
            "ftp://a/b",
            "file:///etc/passwd",
            "https://",
            "https://a@b/c",
            "https://a:0/",
            "https://a/b#c",
            "https://a b/",
            "https://[::1/",
            "https:///x",
        ] {
            assert!(Url::parse(text).is_err(), "{text}");
        }
    }

    /// A redirect to an absolute path or a web address leads where a browser would go; others fail.
    #[test]
    fn redirects_are_followed_as_they_are_meant() {
        let url = Url::parse("https://a.example/x/y?q").expect("good");
        let lead = |location: &str| {
            url.follow(location)
                .map(|url| format!("{url} {}", url.path))
        };
        assert_eq!(
            lead("/z?t=1").as_deref(),
            Some("https://a.example/z /z?t=1")
        );
        assert_eq!(
            lead("//b.example/z").as_deref(),
            Some("https://b.example/z /z")
        );
        assert_eq!(
            lead("http://b.example:81/z").as_deref(),
            Some("http://b.example:81/z /z")
        );
        for location in [
            "",
            "z",
            "file:///etc/passwd",
            "gopher://b/",
            "https://u:p@b/",
        ] {
            assert_eq!(lead(location), None, "{location}");
        }
    }

    /// A reference is read as registries read it, and anything else is an error.
    #[test]
    fn references_are_read() {
        let digest = format!("sha256:{}", "ab".repeat(32));
        let full = format!("oci://localhost:5000/team/tag-spans:1.2@{digest}");
        let read = Reference::parse(&full).expect("good");
        assert_eq!(read.to_string(), full);
        assert_eq!(read.digest_or_tag(), digest);
        assert_eq!(
            Reference::parse("oci://ghcr.io/a/b:v1")
                .expect("good")
                .digest_or_tag(),
            "v1"
        );
        for text in [
            "oci://",
            "oci://ghcr.io",
            "oci://ghcr.io/",
            "oci://ghcr.io/a",
            "oci://ghcr.io/A:1",
            "oci://ghcr.io/a/../b:1",
            "oci://ghcr.io//a:1",
            "oci://ghcr.io/a:",
            "oci://ghcr.io/a:b/c",
            "oci://ghcr.io/a@sha256:12",
            "oci://ghcr.io/a@md5:12",
            "oci://u@ghcr.io/a:1",
            "oci://g io/a:1",
        ] {
            assert!(Reference::parse(text).is_err(), "{text}");
        }
    }
}
