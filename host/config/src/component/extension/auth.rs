//! The settings of the extensions `bearertokenauth` and `basicauth`.

use std::path::PathBuf;

use spandrel_otlp::auth::{Bearer, Htpasswd, Login, TextSource, Tokens};

use crate::text::section::Section;

/// The `basicauth` extension. As in the Collector, one extension is for one side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BasicAuth {
    /// The receivers' side: users and their passwords.
    Server(Htpasswd),
    /// The exporters' side: the login of this collector.
    Client(Login),
}

pub(super) fn read_bearer(section: &Section<'_>) -> Option<Bearer> {
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

pub(super) fn read_basic(section: &Section<'_>) -> Option<BasicAuth> {
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
