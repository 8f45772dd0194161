//! Authenticators: the extensions `bearertokenauth` and `basicauth`, and the `auth` of receivers
//! and exporters that names one.

use std::path::PathBuf;

use spandrel_otlp::auth::{Bearer, ClientAuth, Htpasswd, Login, ServerAuth, TextSource, Tokens};

use super::check::{Components, Named};
use super::exporter::ExporterKind;
use super::extension::{Extension, ExtensionKind};
use super::id::Id;
use super::net::Listen;
use super::problem::Problem;
use super::receiver::ReceiverKind;
use super::section::Section;
use super::service::named;
use super::suggest::closest;
use super::tree::{Node, Value, child};

/// The `basicauth` extension. As in the Collector, one extension is for one side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BasicAuth {
    /// The receivers' side: users and their passwords.
    Server(Htpasswd),
    /// The exporters' side: the login of this collector.
    Client(Login),
}

pub(crate) fn read_bearer(section: &Section<'_>) -> Option<Bearer> {
    let header = section.parsed("header", |text| {
        let name = http::HeaderName::from_bytes(text.as_bytes()).ok();
        name.filter(|name| !name.as_str().starts_with("grpc-"))
            .map(|name| name.as_str().to_owned())
            .ok_or_else(|| "write the name of a header, such as authorization".to_owned())
    });
    let scheme = section.parsed("scheme", |text| {
        let fits = text.bytes().all(|byte| byte.is_ascii_graphic());
        fits.then(|| text.to_owned())
            .ok_or_else(|| "write a word such as Bearer, or \"\" for none".to_owned())
    });
    let filename = section.string("filename").map(PathBuf::from);
    let token = section.secret("token");
    let tokens: Vec<_> = section.strings("tokens");
    if token.is_some() && !tokens.is_empty() {
        section.wrong("there are both `token` and `tokens`", "keep one of them");
    }
    let mut inline: Vec<_> = tokens.iter().map(|(text, _)| (*text).into()).collect();
    inline.extend(token);
    let tokens = match filename {
        // As in the Collector, the file wins.
        Some(path) => Tokens::File(path),
        None if inline.is_empty() => {
            section.wrong("there is no token", "add `filename: /path/to/token`");
            return None;
        }
        None => Tokens::Inline(inline),
    };
    if let Err(what) = tokens.check() {
        section.wrong(format!("the token cannot be used: {what}"), "write another");
    }
    Some(Bearer {
        header: header.unwrap_or_else(|| "authorization".to_owned()),
        scheme: scheme.unwrap_or_else(|| "Bearer".to_owned()),
        tokens,
    })
}

pub(crate) fn read_basic(section: &Section<'_>) -> Option<BasicAuth> {
    match (section.has("htpasswd"), section.has("client_auth")) {
        (true, false) => read_htpasswd(&section.section("htpasswd")).map(BasicAuth::Server),
        (false, true) => read_login(&section.section("client_auth")).map(BasicAuth::Client),
        (true, true) => {
            // Read both, so that all problems are reported at once.
            read_htpasswd(&section.section("htpasswd"));
            read_login(&section.section("client_auth"));
            section.wrong(
                "there are both `htpasswd` and `client_auth`",
                "make two extensions, such as basicauth/server and basicauth/client",
            );
            None
        }
        (false, false) => {
            section.wrong(
                "there are no credentials",
                "add `htpasswd: { file: /path/to/htpasswd }` for a receiver, or `client_auth` for an exporter",
            );
            None
        }
    }
}

fn read_htpasswd(section: &Section<'_>) -> Option<Htpasswd> {
    let htpasswd = Htpasswd {
        file: section.string("file").map(PathBuf::from),
        inline: section.secret("inline"),
    };
    if htpasswd.file.is_none() && htpasswd.inline.is_none() {
        section.wrong("there are no users", "add `file: /path/to/htpasswd`");
        return None;
    }
    if let Err(what) = htpasswd.check() {
        section.wrong_key("inline", what, "write it as `htpasswd -nB USER` does");
    }
    Some(htpasswd)
}

fn read_login(section: &Section<'_>) -> Option<Login> {
    section.not_offered(
        "aws_secrets_manager",
        "write what it holds to files, and name those",
    );
    let given = |file, inline| {
        let path = section
            .string(file)
            .map(|path| TextSource::File(path.into()));
        let text = section.secret(inline).map(TextSource::Inline);
        let given = path.or(text);
        if given.is_none() {
            let what = format!("there is neither `{inline}` nor `{file}`");
            section.wrong(what, format!("add `{file}: /path/to/{inline}`"));
        }
        given
    };
    let (username, password) = (
        given("username_file", "username"),
        given("password_file", "password"),
    );
    if let Some(TextSource::Inline(username)) = &username
        && username.reveal().contains(':')
    {
        let what = "the name of a user has no colon";
        section.wrong_key("username", what, "write another");
    }
    Some(Login {
        username: username?,
        password: password?,
    })
}

/// The authenticators that `auth` may name.
pub(crate) struct Authenticators<'a> {
    extensions: &'a Named<Extension>,
    started: Vec<String>,
}

impl<'a> Authenticators<'a> {
    pub(crate) fn new(extensions: &'a Named<Extension>, root: &Node) -> Self {
        let started = child(root, "service").and_then(|service| child(service, "extensions"));
        let started = match started.map(|node| &node.value) {
            Some(Value::List(items)) => items.iter().collect(),
            _ => started.into_iter().collect::<Vec<_>>(),
        };
        let started = started.into_iter().filter_map(Node::text);
        Self {
            extensions,
            started: started.map(str::to_owned).collect(),
        }
    }

    /// Returns the authenticator for the requests of a receiver.
    pub(crate) fn server(&self, parent: &Section<'_>) -> Option<ServerAuth> {
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
    pub(crate) fn client(&self, parent: &Section<'_>) -> Option<ClientAuth> {
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
        let wrong = |what, instead| section.wrong_key("authenticator", what, instead);
        let Some((id, extension)) = self.extensions.iter().find(|(id, _)| id.as_str() == name)
        else {
            let names: Vec<&str> = self.extensions.keys().map(Id::as_str).collect();
            let instead = match closest(&name, &names) {
                Some(near) => format!("did you mean \"{near}\"?"),
                None => "add it under `extensions`".to_owned(),
            };
            let node = section.node("authenticator")?;
            let shown = named("extension", &name, node);
            wrong(
                format!("references {shown} which is not configured"),
                instead,
            );
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
        Some((section, extension.as_deref()?))
    }
}

/// Returns warnings about credentials that travel without TLS to or from another machine.
pub(crate) fn in_plain_sight(components: &Components) -> Vec<Problem> {
    let exporters = components.exporters.values().flatten();
    let exporters = exporters.filter_map(|exporter| {
        let ExporterKind::OtlpGrpc(settings) = &exporter.kind else {
            return None;
        };
        let authority = settings.0.endpoint.strip_prefix("http://")?;
        settings.0.auth.as_ref()?;
        is_elsewhere(authority).then(|| {
            let path = format!("exporters::{}::endpoint", exporter.id);
            let what = "without TLS the credentials can be read by everybody on the way";
            Problem::nowhere(path, what).instead("write https://host:port")
        })
    });
    let receivers = components.receivers.values().flatten();
    let receivers = receivers.filter_map(|receiver| {
        let ReceiverKind::Otlp(settings) = &receiver.kind else {
            return None;
        };
        settings.auth.as_ref()?;
        let open = settings.tls.is_none() && is_elsewhere(&settings.endpoint);
        open.then(|| {
            let path = format!("receivers::{}::protocols::grpc::endpoint", receiver.id);
            let what = "without TLS the credentials of clients can be read by everybody on the way";
            Problem::nowhere(path, what).instead("add `tls: { cert_file, key_file }`")
        })
    });
    exporters.chain(receivers).collect()
}

/// Returns true unless the address is on this machine.
fn is_elsewhere(authority: &str) -> bool {
    let listen = Listen::parse(authority);
    let host = Listen::parse(&format!("{authority}:80"));
    let local = |listen: Listen| listen.is_loopback();
    !(listen.is_ok_and(local) || host.is_ok_and(local))
}
