//! Extensions: `health_check`, `admin`, and the authenticators.

mod auth;

use std::path::PathBuf;

use spandrel_otlp::auth::Bearer;

pub use self::auth::BasicAuth;
use super::net::{Endpoint, Listen};
use crate::id::Id;
use crate::text::section::Section;

/// One configured extension.
#[derive(Clone, Debug, PartialEq)]
pub struct Extension {
    /// Its key in the configuration.
    pub id: Id,
    /// The type of the extension, with its settings.
    pub kind: ExtensionKind,
}

/// The types of extensions.
#[derive(Clone, Debug, PartialEq)]
pub enum ExtensionKind {
    /// Reports over HTTP whether the collector is alive and ready.
    HealthCheck(HealthCheck),
    /// Shows the stages and changes them.
    Admin(Admin),
    /// Holds tokens, for receivers and exporters that name it.
    BearerTokenAuth(Bearer),
    /// Holds users and passwords, for receivers and exporters that name it.
    BasicAuth(BasicAuth),
}

/// Reports over HTTP whether the collector is alive and ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// The address to listen on.
    pub endpoint: Listen,
    /// The path with the Collector's answer; `/livez` and `/readyz` are always there.
    pub path: String,
}

/// Shows the stages and changes them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// The endpoint to listen on; `None` for the unix socket that the command line looks for.
    pub endpoint: Option<Endpoint>,
    /// The file with the token that requests must present. Always set if the endpoint is an
    /// address.
    pub token_file: Option<PathBuf>,
}

/// The types of extensions that can be configured.
pub(crate) const KINDS: &[&str] = &["health_check", "admin", "bearertokenauth", "basicauth"];

pub(crate) fn read(id: Id, section: &Section<'_>) -> Option<Extension> {
    let kind = match id.kind() {
        "health_check" => ExtensionKind::HealthCheck(read_health_check(section)),
        "admin" => ExtensionKind::Admin(read_admin(section)),
        "bearertokenauth" => ExtensionKind::BearerTokenAuth(auth::read_bearer(section)?),
        "basicauth" => ExtensionKind::BasicAuth(auth::read_basic(section)?),
        _ => return None,
    };
    Some(Extension { id, kind })
}

fn read_health_check(section: &Section<'_>) -> HealthCheck {
    let path = section.parsed("path", |text| {
        let fits = text.starts_with('/') && text.bytes().all(|byte| byte.is_ascii_graphic());
        let fits = fits && !text.contains(['?', '#']);
        fits.then(|| text.to_owned())
            .ok_or_else(|| "write a path such as /health".to_owned())
    });
    let endpoint = Listen::read(section, 13133);
    section.not_offered(
        "response_body",
        "remove it: the answers are the Collector's",
    );
    section.not_offered("tls", "remove it: probes come from the same machine");
    HealthCheck {
        endpoint,
        path: path.unwrap_or_else(|| "/".to_owned()),
    }
}

fn read_admin(section: &Section<'_>) -> Admin {
    let endpoint = section.parsed("endpoint", Endpoint::parse);
    let token_file = section.string("token_file").map(PathBuf::from);
    section.not_offered(
        "tls",
        "listen on a unix socket, or put a proxy that speaks TLS in front",
    );
    if matches!(endpoint, Some(Endpoint::Tcp(_))) && !section.has("token_file") {
        section.wrong_key(
            "endpoint",
            "everybody who reaches this address could change the plugins",
            "add `token_file: /path/to/token`, or listen on a unix socket: `endpoint: unix:/path/to/admin.sock`",
        );
    }
    if token_file
        .as_ref()
        .is_some_and(|path| path.as_os_str().is_empty())
    {
        section.wrong_key(
            "token_file",
            "this is no path",
            "write one such as /etc/spandrel/token",
        );
    }
    Admin {
        endpoint,
        token_file,
    }
}
