//! Authentication, of senders by the receiver and of the exporter to its backend: bearer tokens and
//! basic authentication, with the Collector's meaning. Files are looked at again, so that
//! credentials change without a restart.

mod basic;
mod bearer;
mod credentials;

use std::path::PathBuf;
use std::time::Duration;

use http::HeaderMap;

pub(crate) use credentials::{Credentials, SentHeader};

use crate::file_value::FileError;
use crate::secret::Secret;

/// The interval between two looks at files of credentials. A thief can use a revoked token for no
/// longer than this, and reading a small file costs nothing.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The credentials that requests must carry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerAuth {
    /// One of several tokens.
    Bearer(Bearer),
    /// The name and the password of a user.
    Basic(Htpasswd),
}

/// The credentials that the exporter sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    /// The first of several tokens.
    Bearer(Bearer),
    /// A user and a password.
    Basic(Login),
}

/// Tokens in a header: `authorization: Bearer TOKEN`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bearer {
    /// The name of the header, usually `authorization`.
    pub header: String,
    /// The word before the token; empty for the token alone.
    pub scheme: String,
    /// The tokens. A server accepts each of them; a client sends the first.
    pub tokens: Tokens,
}

/// The place where tokens are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tokens {
    /// In the config.
    Inline(Vec<Secret>),
    /// In a file, one a line.
    File(PathBuf),
}

impl Tokens {
    /// Checks that the tokens in the config can be used.
    ///
    /// # Errors
    /// Returns what is wrong, without the tokens.
    pub fn check(&self) -> Result<(), &'static str> {
        match self {
            Self::Inline(tokens) => bearer::usable(tokens.iter().map(Secret::reveal)).map(drop),
            Self::File(_) => Ok(()),
        }
    }
}

/// Users and their passwords, one `user:password` a line. The password is a bcrypt hash (`htpasswd
/// -B`) or plain text. The other hashes of `htpasswd` are easy to reverse, and are refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Htpasswd {
    /// The file of users.
    pub file: Option<PathBuf>,
    /// The users in the config. They take precedence over the same users in the file.
    pub inline: Option<Secret>,
}

impl Htpasswd {
    /// Checks that the users in the config can be used.
    ///
    /// # Errors
    /// Returns the number of the line and what is wrong with it, without its content.
    pub fn check(&self) -> Result<(), String> {
        let inline = self.inline.as_ref();
        inline.map_or(Ok(()), |inline| basic::check(inline.reveal()))
    }
}

/// A user and the password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// The user's name, without a colon.
    pub username: TextSource,
    /// The user's password.
    pub password: TextSource,
}

/// Text that is in the config or in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TextSource {
    /// In the config.
    Inline(Secret),
    /// In a file; white space around the text is removed.
    File(PathBuf),
}

/// The reason why a request is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AuthError {
    /// The request has no credentials, or not of the required kind.
    Missing,
    /// Nobody has these credentials.
    Wrong,
    /// Too many other passwords are being checked.
    Busy,
}

/// Checks the credentials of requests before the requests are read.
#[derive(Debug)]
pub(crate) enum Authenticator {
    Bearer(bearer::TokenCheck),
    Basic(basic::PasswordCheck),
}

impl Authenticator {
    pub(crate) fn read(settings: &ServerAuth, endpoint: &str) -> Result<Self, FileError> {
        Ok(match settings {
            ServerAuth::Bearer(settings) => {
                Self::Bearer(bearer::TokenCheck::read(settings, endpoint)?)
            }
            ServerAuth::Basic(settings) => {
                Self::Basic(basic::PasswordCheck::read(settings, endpoint)?)
            }
        })
    }

    /// Returns the kind of credentials, as `www-authenticate` names it.
    pub(crate) fn challenge(&self) -> &'static str {
        match self {
            Self::Bearer(_) => "Bearer",
            Self::Basic(_) => "Basic realm=\"otlp\", charset=\"UTF-8\"",
        }
    }

    /// Lets in the request with these headers, or returns why it is not let in.
    pub(crate) async fn admit(&self, headers: &HeaderMap) -> Result<(), AuthError> {
        match self {
            Self::Bearer(check) => check.admit(headers),
            Self::Basic(check) => check.admit(headers).await,
        }
    }
}
