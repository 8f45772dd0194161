//! `auth` of receivers and exporters: the authenticator that it names.

use std::collections::BTreeSet;

use spandrel_otlp::auth::{ClientAuth, ServerAuth};

use super::catalog::Catalog;
use super::extension::{BasicAuth, Extension, ExtensionKind};
use super::names::listed;
use crate::text::section::Section;
use crate::text::tree::Node;

/// The authenticators that `auth` may name.
pub(crate) struct Authenticators<'a> {
    extensions: &'a Catalog<Extension>,
    started: BTreeSet<String>,
}

impl<'a> Authenticators<'a> {
    /// Returns the authenticators among the extensions. `root` is the whole configuration, which says
    /// which of them are started.
    pub(crate) fn new(extensions: &'a Catalog<Extension>, root: &Node) -> Self {
        Self {
            extensions,
            started: listed(root, extensions.key()),
        }
    }

    /// Returns the authenticator for the requests of a receiver.
    pub(super) fn server(&self, parent: &Section<'_>) -> Option<ServerAuth> {
        let (section, extension) = self.named(parent)?;
        match &extension.kind {
            ExtensionKind::BearerTokenAuth(bearer) => Some(ServerAuth::Bearer(bearer.clone())),
            ExtensionKind::BasicAuth(BasicAuth::Server(users)) => {
                Some(ServerAuth::Basic(users.clone()))
            }
            ExtensionKind::BasicAuth(BasicAuth::Client(_)) => {
                let what = format!("extension \"{}\" is for exporters", extension.id);
                let instead = "make one with `htpasswd: { file: /path/to/htpasswd }`, and name it";
                section.wrong_key("authenticator", what, instead);
                None
            }
            ExtensionKind::HealthCheck(_) | ExtensionKind::Admin(_) => None,
        }
    }

    /// Returns the authenticator that identifies this collector to a backend.
    pub(super) fn client(&self, parent: &Section<'_>) -> Option<ClientAuth> {
        let (section, extension) = self.named(parent)?;
        match &extension.kind {
            ExtensionKind::BearerTokenAuth(bearer) => Some(ClientAuth::Bearer(bearer.clone())),
            ExtensionKind::BasicAuth(BasicAuth::Client(login)) => {
                Some(ClientAuth::Basic(login.clone()))
            }
            ExtensionKind::BasicAuth(BasicAuth::Server(_)) => {
                let what = format!("extension \"{}\" is for receivers", extension.id);
                let instead =
                    "make one with `client_auth: { username, password_file }`, and name it";
                section.wrong_key("authenticator", what, instead);
                None
            }
            ExtensionKind::HealthCheck(_) | ExtensionKind::Admin(_) => None,
        }
    }

    /// Returns the extension that `auth` names, if it is an authenticator that is started.
    fn named<'s>(&self, parent: &Section<'s>) -> Option<(Section<'s>, &Extension)> {
        if !parent.has("auth") {
            return None;
        }
        let section = parent.section("auth");
        section.required("authenticator", "bearertokenauth");
        let name = section.string("authenticator")?;
        let wrong =
            |what: String, instead: String| section.wrong_key("authenticator", what, instead);
        let Some((id, extension)) = self.extensions.get(&name) else {
            let (what, instead) = self
                .extensions
                .not_configured(&name, section.node("authenticator")?);
            wrong(what, instead);
            return None;
        };
        if !matches!(id.kind(), "bearertokenauth" | "basicauth") {
            let instead = "name a bearertokenauth or a basicauth".to_owned();
            wrong(format!("extension \"{id}\" is no authenticator"), instead);
        } else if !self.started.contains(&name) {
            let what = format!("extension \"{id}\" is not among those that are started");
            let instead = format!("add it: `service: {{ extensions: [{id}] }}`");
            wrong(what, instead);
        }
        // An extension with problems of its own has been reported already.
        Some((section, extension?))
    }
}
