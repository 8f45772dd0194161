//! The bearer token. Only its hash is kept, and the time of a comparison reveals nothing about it.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::bind_error::{BindError, SHORTEST_TOKEN};

/// The most bytes that are read, so that a wrong file is reported early.
const LONGEST: u64 = 4096;

/// The hash of the token that requests must present.
pub(crate) struct Token([u8; 32]);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

impl Token {
    /// Reads the file. White space around the token is not part of it.
    pub(crate) fn read(path: &Path) -> Result<Self, BindError> {
        let text = contents(path).map_err(|source| BindError::TokenFile {
            path: path.to_owned(),
            source,
        })?;
        if text.len() < SHORTEST_TOKEN {
            return Err(BindError::TokenTooShort {
                path: path.to_owned(),
            });
        }
        Ok(Self::of(text.as_bytes()))
    }

    fn of(token: &[u8]) -> Self {
        Self(Sha256::digest(token).into())
    }

    /// Returns true if this is the token. All bytes of the hashes are compared, so that the time it
    /// takes reveals neither the length nor the beginning of the right one.
    pub(crate) fn is(&self, token: &[u8]) -> bool {
        self.0.ct_eq(&Self::of(token).0).into()
    }
}

/// Returns the token in a file, as it is sent. The command line reads it in the same way.
pub(crate) fn contents(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?
        .take(LONGEST + 1)
        .read_to_string(&mut text)?;
    if text.len() as u64 > LONGEST {
        let what = format!("it is longer than {LONGEST} bytes, this is no token");
        return Err(io::Error::new(io::ErrorKind::InvalidData, what));
    }
    let token = text.trim();
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        let what = "a token has letters, digits and signs of ASCII, without spaces";
        return Err(io::Error::new(io::ErrorKind::InvalidData, what));
    }
    Ok(token.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The token is the file's text without the end of its line, and `Debug` does not show it.
    #[test]
    fn a_token_is_read_and_never_shown() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("token");
        std::fs::write(&path, "0123456789abcdef\n").expect("written");
        let token = Token::read(&path).expect("long enough");
        assert!(token.is(b"0123456789abcdef"));
        for wrong in [
            "",
            "0123456789abcde",
            "0123456789abcdef\n",
            "0123456789abcdeg",
        ] {
            assert!(!token.is(wrong.as_bytes()), "{wrong:?}");
        }
        assert_eq!(format!("{token:?}"), "Token(..)");
    }

    /// Text that is not a good token is refused, with a message that does not show it.
    #[test]
    fn bad_tokens_are_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("token");
        let long = "x".repeat(5000);
        for (text, why) in [
            ("  0123456789abcde \n", "shorter than 16 bytes"),
            ("", "shorter than 16 bytes"),
            ("0123456789 abcdef", "cannot be read"),
            (long.as_str(), "cannot be read"),
        ] {
            std::fs::write(&path, text).expect("written");
            let error = Token::read(&path).expect_err("it is bad").to_string();
            assert!(error.contains(why), "{error}");
            assert!(!error.contains("0123"), "{error}");
        }
        std::fs::remove_file(&path).expect("removed");
        let error = Token::read(&path).expect_err("it is not there");
        assert!(error.to_string().contains("cannot be read"), "{error}");
    }
}
