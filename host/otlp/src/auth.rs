//! Who may send, and how we say who we are: bearer tokens and basic authentication, with the
//! Collector's meaning. Files are looked at again, so that credentials change without a restart.

mod basic;
mod bearer;
mod credentials;

use std::path::PathBuf;
use std::time::Duration;

use http::HeaderMap;

pub(crate) use credentials::{Credentials, Sent};

use crate::reread::FileError;
use crate::secret::Secret;

/// How often files of credentials are looked at: a token that was taken back is of use to its thief
/// for no longer than this, and reading a small file costs nothing.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What requests must prove to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerAuth {
    /// One of some tokens.
    Bearer(Bearer),
    /// The password of a user.
    Basic(Htpasswd),
}

/// What proves who we are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    /// The first of some tokens.
    Bearer(Bearer),
    /// User and password.
    Basic(Login),
}

/// Tokens in a header: `authorization: Bearer TOKEN`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bearer {
    /// The name of the header, `authorization` as a rule.
    pub header: String,
    /// What stands before the token; empty for the token alone.
    pub scheme: String,
    /// The tokens. Servers take every one of them, clients send the first.
    pub tokens: Tokens,
}

/// Where tokens are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tokens {
    /// In the config.
    Inline(Vec<Secret>),
    /// In a file, one a line.
    File(PathBuf),
}

impl Tokens {
    /// Whether those in the config can be used.
    ///
    /// # Errors
    /// What is wrong; the tokens stay out of it.
    pub fn check(&self) -> Result<(), &'static str> {
        match self {
            Self::Inline(tokens) => bearer::usable(tokens.iter().map(Secret::reveal)).map(drop),
            Self::File(_) => Ok(()),
        }
    }
}

/// Users and their passwords, one `user:password` a line, where the password is one of bcrypt
/// (`htpasswd -B`), or plain text. The other hashes of `htpasswd` are easy to reverse, and refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Htpasswd {
    /// In a file.
    pub file: Option<PathBuf>,
    /// In the config; what is here is preferred over the same user's password in the file.
    pub inline: Option<Secret>,
}

impl Htpasswd {
    /// Whether the users in the config can be used.
    ///
    /// # Errors
    /// What is wrong, by its line; what is in it stays out of it.
    pub fn check(&self) -> Result<(), String> {
        let inline = self.inline.as_ref();
        inline.map_or(Ok(()), |inline| basic::check(inline.reveal()))
    }
}

/// One user and his password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// Without a colon.
    pub username: Given,
    /// His password.
    pub password: Given,
}

/// Text that is in the config or in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Given {
    /// In the config.
    Inline(Secret),
    /// In a file; white space around it is not part of it.
    File(PathBuf),
}

/// Why a request is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Denied {
    /// It has no credentials, or not of the kind that is asked for.
    Missing,
    /// Nobody has these.
    Wrong,
    /// Too many others are being looked at.
    Busy,
}

/// Looks at requests, before they are read.
#[derive(Debug)]
pub(crate) enum Authenticator {
    Bearer(bearer::Check),
    Basic(basic::Check),
}

impl Authenticator {
    pub(crate) fn read(settings: &ServerAuth, endpoint: &str) -> Result<Self, FileError> {
        Ok(match settings {
            ServerAuth::Bearer(settings) => Self::Bearer(bearer::Check::read(settings, endpoint)?),
            ServerAuth::Basic(settings) => Self::Basic(basic::Check::read(settings, endpoint)?),
        })
    }

    /// Whether the request with these headers is let in.
    pub(crate) async fn admit(&self, headers: &HeaderMap) -> Result<(), Denied> {
        match self {
            Self::Bearer(check) => check.admit(headers),
            Self::Basic(check) => check.admit(headers).await,
        }
    }
}
