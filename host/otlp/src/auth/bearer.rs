//! Bearer tokens on the server side. Only their hashes are kept, and they are compared in constant
//! time.

use std::fmt;
use std::path::{Path, PathBuf};

use http::HeaderMap;
use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq as _};

use super::{AuthError, Bearer, LOOK_EVERY, Tokens};
use crate::file_value::{ContentKind, FileError, FileValue, Files};
use crate::secret::Secret;

/// The most tokens of one receiver. Each request is compared with all of them, which takes 20 us
/// for this many.
const MAX_TOKENS: usize = 1000;

const WHAT: &str = "a bearer token";

/// Lets in requests that carry one of the tokens.
#[derive(Debug)]
pub(crate) struct TokenCheck {
    header: String,
    scheme: String,
    tokens: FileValue<Hashes>,
}

struct Hashes(Vec<[u8; 32]>);

impl fmt::Debug for Hashes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hashes(..)")
    }
}

impl TokenCheck {
    pub(super) fn read(settings: &Bearer, endpoint: &str) -> Result<Self, FileError> {
        let tokens = settings.tokens.clone();
        let paths = file(&tokens);
        let make = move |files: &Files| {
            let hash = |token: &str| Sha256::digest(token).into();
            Ok(Hashes(
                texts(&tokens, files)?.into_iter().map(hash).collect(),
            ))
        };
        Ok(Self {
            header: settings.header.clone(),
            scheme: settings.scheme.clone(),
            tokens: FileValue::new(ContentKind::Credentials, endpoint, paths, LOOK_EVERY, make)?,
        })
    }

    pub(super) fn admit(&self, headers: &HeaderMap) -> Result<(), AuthError> {
        let sent = headers
            .get(&self.header)
            .ok_or(AuthError::Missing)?
            .as_bytes();
        let token = token(sent, &self.scheme).ok_or(AuthError::Missing)?;
        let sent: [u8; 32] = Sha256::digest(token).into();
        // Compares with every token, even after a match.
        let tokens = self.tokens.current();
        let known = tokens
            .0
            .iter()
            .fold(Choice::from(0), |known, hash| known | hash.ct_eq(&sent));
        if bool::from(known) {
            Ok(())
        } else {
            Err(AuthError::Wrong)
        }
    }
}

/// Returns the part after the scheme. Upper and lower case do not matter in the scheme.
fn token<'a>(sent: &'a [u8], scheme: &str) -> Option<&'a [u8]> {
    if scheme.is_empty() {
        return Some(sent);
    }
    let (found, rest) = sent.split_at_checked(scheme.len())?;
    let token = rest.strip_prefix(b" ")?;
    found
        .eq_ignore_ascii_case(scheme.as_bytes())
        .then_some(token)
}

pub(super) fn file(tokens: &Tokens) -> Vec<PathBuf> {
    match tokens {
        Tokens::Inline(_) => Vec::new(),
        Tokens::File(path) => vec![path.clone()],
    }
}

/// Returns the tokens, at least one.
pub(super) fn texts<'a>(tokens: &'a Tokens, files: &'a Files) -> Result<Vec<&'a str>, FileError> {
    let (found, path) = match tokens {
        Tokens::Inline(tokens) => (usable(tokens.iter().map(Secret::reveal)), Path::new("")),
        Tokens::File(path) => (usable(files.text(path, WHAT)?.lines()), path.as_path()),
    };
    found.map_err(|why| FileError::unusable(WHAT, path, why))
}

/// Returns the tokens among these texts. An empty line is not a token: a request without a token
/// has just that.
pub(super) fn usable<'a>(
    texts: impl Iterator<Item = &'a str>,
) -> Result<Vec<&'a str>, &'static str> {
    let tokens: Vec<&str> = texts
        .map(str::trim)
        .filter(|token| !token.is_empty())
        .collect();
    if tokens.is_empty() {
        return Err("there is none");
    }
    if tokens.len() > MAX_TOKENS {
        return Err("there are more than 1000");
    }
    let visible = |byte: u8| byte.is_ascii_graphic() || byte == b' ';
    if !tokens.iter().all(|token| token.bytes().all(visible)) {
        return Err("it has characters outside of visible ASCII");
    }
    Ok(tokens)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(scheme: &str, tokens: &[&str]) -> Result<TokenCheck, FileError> {
        let settings = Bearer {
            header: "authorization".to_owned(),
            scheme: scheme.to_owned(),
            tokens: Tokens::Inline(tokens.iter().map(|token| Secret::from(*token)).collect()),
        };
        TokenCheck::read(&settings, "test")
    }

    fn admits(check: &TokenCheck, sent: &str) -> Result<(), AuthError> {
        let mut headers = HeaderMap::new();
        headers.insert("authorization", sent.parse().expect("a value"));
        check.admit(&headers)
    }

    /// Every token is accepted in full, after the scheme; nothing else is.
    #[test]
    fn tokens_are_taken_in_full() {
        let check = check("Bearer", &["alpha", "beta", ""]).expect("good");
        for (sent, answer) in [
            ("Bearer alpha", Ok(())),
            ("bearer beta", Ok(())),
            ("Bearer alph", Err(AuthError::Wrong)),
            ("Bearer alphaa", Err(AuthError::Wrong)),
            ("Bearer  alpha", Err(AuthError::Wrong)),
            ("Bearer ", Err(AuthError::Wrong)),
            ("Bearer", Err(AuthError::Missing)),
            ("alpha", Err(AuthError::Missing)),
            ("Basic alpha", Err(AuthError::Missing)),
        ] {
            assert_eq!(admits(&check, sent), answer, "{sent:?}");
        }
        assert_eq!(check.admit(&HeaderMap::new()), Err(AuthError::Missing));
    }

    /// Without a scheme the token stands alone.
    #[test]
    fn a_scheme_may_be_nothing() {
        let check = check("", &["alpha"]).expect("good");
        assert_eq!(admits(&check, "alpha"), Ok(()));
        assert_eq!(admits(&check, "Bearer alpha"), Err(AuthError::Wrong));
    }

    /// An invalid token is refused before anybody is let in by it, and is not shown.
    #[test]
    fn bad_tokens_are_refused() {
        for tokens in [&[][..], &["", "  "], &["hunter2\u{7}"], &["hunter2\u{e4}"]] {
            let error = check("Bearer", tokens).expect_err("bad");
            let text = format!("{error:?}");
            assert!(!text.contains("hunter2"), "{text}");
        }
    }
}
