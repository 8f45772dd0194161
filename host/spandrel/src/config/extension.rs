//! Extensions: `health_check`.

use super::id::Id;
use super::net::Listen;
use super::section::Section;

/// One configured extension.
#[derive(Clone, Debug, PartialEq)]
pub struct Extension {
    /// Its key in the configuration.
    pub id: Id,
    /// What it does.
    pub kind: ExtensionKind,
}

/// The extensions there are.
#[derive(Clone, Debug, PartialEq)]
pub enum ExtensionKind {
    /// Says over HTTP whether the collector is alive and ready.
    HealthCheck(HealthCheck),
}

/// Says over HTTP whether the collector is alive and ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// Where to listen.
    pub endpoint: Listen,
    /// The path with the Collector's answer; `/livez` and `/readyz` are always there.
    pub path: String,
}

/// What can be written as an extension's type.
pub(crate) const KINDS: &[&str] = &["health_check"];

pub(crate) fn read(id: Id, section: &Section<'_>) -> Option<Extension> {
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
    let kind = match id.kind() {
        "health_check" => ExtensionKind::HealthCheck(HealthCheck {
            endpoint,
            path: path.unwrap_or_else(|| "/".to_owned()),
        }),
        _ => return None,
    };
    Some(Extension { id, kind })
}
