//! The credentials that the exporter sends.

use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue};
use zeroize::Zeroizing;

use super::bearer::{file, texts};
use super::{Bearer, ClientAuth, LOOK_EVERY, Login, TextSource};
use crate::file_value::{ContentKind, FileError, FileValue, Files};

/// A header that is sent with every request.
#[derive(Debug)]
pub(crate) struct Credentials(FileValue<(HeaderName, HeaderValue)>);

impl Credentials {
    pub(crate) fn read(settings: &ClientAuth, endpoint: &str) -> Result<Self, FileError> {
        let paths = match settings {
            ClientAuth::Bearer(bearer) => file(&bearer.tokens),
            ClientAuth::Basic(login) => login.files(),
        };
        let settings = settings.clone();
        let make = move |files: &Files| match &settings {
            ClientAuth::Bearer(settings) => bearer(settings, files),
            ClientAuth::Basic(settings) => basic(settings, files),
        };
        FileValue::new(ContentKind::Credentials, endpoint, paths, LOOK_EVERY, make).map(Self)
    }

    /// Adds the header that is in force; it replaces one of the same name.
    pub(crate) fn add_to(&self, headers: &mut HeaderMap) -> SentHeader {
        let current = self.0.current();
        let (name, value) = &*current;
        headers.insert(name.clone(), value.clone());
        SentHeader(current)
    }

    /// Looks at the files now. Returns true if the header in force differs from the one that was
    /// sent, whichever request found the change.
    pub(crate) async fn renewed(&self, sent: &SentHeader) -> bool {
        self.0.read_again().await;
        !Arc::ptr_eq(&sent.0, &self.0.current())
    }
}

/// The header that a request was sent with.
pub(crate) struct SentHeader(Arc<(HeaderName, HeaderValue)>);

fn bearer(settings: &Bearer, files: &Files) -> Result<(HeaderName, HeaderValue), FileError> {
    let tokens = texts(&settings.tokens, files)?;
    let token = tokens.first().copied().unwrap_or_default();
    let text = if settings.scheme.is_empty() {
        Zeroizing::new(token.to_owned())
    } else {
        Zeroizing::new(format!("{} {token}", settings.scheme))
    };
    let what = "the header of a bearer token";
    let path = file(&settings.tokens).pop().unwrap_or_default();
    let name = HeaderName::from_bytes(settings.header.to_ascii_lowercase().as_bytes())
        .map_err(|source| FileError::unusable(what, &path, source))?;
    Ok((name, secret(&text, what, &path)?))
}

fn basic(login: &Login, files: &Files) -> Result<(HeaderName, HeaderValue), FileError> {
    let username = login.username.text(files, "a user's name")?;
    let password = login.password.text(files, "a password")?;
    let path = login.username.file().cloned().unwrap_or_default();
    if username.is_empty() || username.contains(':') {
        let why = "it is empty, or has a colon in it";
        return Err(FileError::unusable("a user's name", &path, why));
    }
    let pair = Zeroizing::new(format!("{username}:{password}"));
    let text = Zeroizing::new(format!("Basic {}", BASE64_STANDARD.encode(pair.as_bytes())));
    let value = secret(&text, "the header of a user", &path)?;
    Ok((http::header::AUTHORIZATION, value))
}

fn secret(
    text: &str,
    what: &'static str,
    path: &std::path::Path,
) -> Result<HeaderValue, FileError> {
    let mut value =
        HeaderValue::from_str(text).map_err(|source| FileError::unusable(what, path, source))?;
    // So nothing prints it, and HTTP/2 does not keep it in its header table.
    value.set_sensitive(true);
    Ok(value)
}

impl Login {
    fn files(&self) -> Vec<PathBuf> {
        let both = [self.username.file(), self.password.file()];
        both.into_iter().flatten().cloned().collect()
    }
}

impl TextSource {
    fn file(&self) -> Option<&PathBuf> {
        match self {
            Self::Inline(_) => None,
            Self::File(path) => Some(path),
        }
    }

    fn text<'a>(&'a self, files: &'a Files, what: &'static str) -> Result<&'a str, FileError> {
        match self {
            Self::Inline(secret) => Ok(secret.reveal()),
            Self::File(path) => files.text(path, what).map(str::trim),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Tokens;
    use crate::secret::Secret;

    fn header(settings: &ClientAuth) -> Result<(String, HeaderValue), FileError> {
        let mut headers = HeaderMap::new();
        Credentials::read(settings, "test")?.add_to(&mut headers);
        let (name, value) = headers.into_iter().next().expect("one header");
        Ok((name.expect("a name").to_string(), value))
    }

    fn login(username: &str, password: &str) -> ClientAuth {
        ClientAuth::Basic(Login {
            username: TextSource::Inline(username.into()),
            password: TextSource::Inline(password.into()),
        })
    }

    /// The header is the one that the Collector sends, and printing it does not show the secret.
    #[test]
    fn credentials_become_a_header() {
        let bearer = ClientAuth::Bearer(Bearer {
            header: "X-Token".to_owned(),
            scheme: "Key".to_owned(),
            tokens: Tokens::Inline(vec!["first".into(), Secret::from("second")]),
        });
        for (settings, name, text) in [
            (bearer, "x-token", "Key first"),
            // From RFC 7617.
            (
                login("Aladdin", "open sesame"),
                "authorization",
                "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==",
            ),
        ] {
            let (found, value) = header(&settings).expect("good");
            assert_eq!((found.as_str(), value.as_bytes()), (name, text.as_bytes()));
            let printed = format!("{settings:?} {value:?}");
            for secret in [text, "first", "second", "sesame"] {
                assert!(!printed.contains(secret), "{printed}");
            }
        }
        for name in ["", "a:b"] {
            header(&login(name, "x")).expect_err("no user has this name");
        }
    }
}
