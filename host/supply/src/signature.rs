//! The signatures of plugins: detached, in minisign's format.
//!
//! A signature is over the bytes, and is checked before the compiler sees them. Its trusted comment
//! is signed, too, and checked with it. Both forms are accepted: over a hash of the bytes
//! (`minisign`'s default), and over the bytes themselves (its older one).

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::file::{ReadError, read_within};
use crate::text::{MESSAGE_BYTES, printable};

/// The extension that is appended to a module's path to get the path of its signature, as `minisign
/// -S` does.
pub const EXTENSION: &str = "minisig";
/// The largest signature or key file. Four lines: some 400 bytes, and a comment.
pub const MAX_BYTES: u64 = 64 << 10;

/// The id of a key: the one that `minisign` prints when it makes a key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(u64);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016X}", self.0)
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl KeyId {
    /// Reads the id. Keys and signatures alike begin with two letters for the algorithm, and the
    /// key's id.
    fn of(base64: &str) -> Option<Self> {
        let bytes = BASE64_STANDARD.decode(base64).ok()?;
        let (_, rest) = bytes.split_first_chunk::<2>()?;
        let (id, _) = rest.split_first_chunk::<8>()?;
        Some(Self(u64::from_le_bytes(*id)))
    }
}

/// The error for text that is not a public key of minisign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is no public key of minisign: that is one line that begins with RW")]
pub struct PublicKeyError;

/// A public key of minisign.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    key: minisign_verify::PublicKey,
    id: KeyId,
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PublicKey").field(&self.id).finish()
    }
}

impl PublicKey {
    /// Reads the line that begins with `RW`, alone or in the file with its comment before it.
    ///
    /// # Errors
    /// Returns an error if there is no such line, or it is damaged.
    pub fn parse(text: &str) -> Result<Self, PublicKeyError> {
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let line = lines.find(|line| !line.starts_with("untrusted comment:"));
        let line = line.ok_or(PublicKeyError)?;
        let key = minisign_verify::PublicKey::from_base64(line).map_err(|_| PublicKeyError)?;
        let id = KeyId::of(line).ok_or(PublicKeyError)?;
        Ok(Self { key, id })
    }

    /// Returns the id of the key.
    pub fn id(&self) -> KeyId {
        self.id
    }
}

/// The signature that a plugin must have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignaturePolicy {
    /// The keys whose signatures count; at least one.
    pub keys: Arc<[PublicKey]>,
    /// The words that its trusted comment must have, if it must have some: one key may sign more
    /// than one module, and older ones.
    pub comment: Option<Arc<str>>,
    /// The place of the signature.
    pub signature: SignatureSource,
}

/// The place of a signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SignatureSource {
    /// In the file beside the module's, with `.minisig` appended to its name.
    Beside,
    /// In this file.
    File(PathBuf),
    /// Here: it came with the module.
    Text(Arc<str>),
    /// Nowhere: the module came without one.
    Missing,
}

/// The reason why a plugin is not known to come from a trusted signer.
#[derive(Debug, thiserror::Error)]
pub enum SignatureError {
    /// There is no signature.
    #[error("it must be signed by {trusted}, and came without a signature: send one with it")]
    Missing {
        /// The keys that count.
        trusted: String,
    },
    /// There is no file with a signature.
    #[error(
        "it must be signed by {trusted}, and there is no signature in `{}`: \
         make one with `minisign -S`, or name it as `module.signature`",
        path.display()
    )]
    NoFile {
        /// The keys that count.
        trusted: String,
        /// The path where it was looked for.
        path: PathBuf,
    },
    /// The file with the signature cannot be read.
    #[error("cannot read its signature `{}`: check its permissions", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: ReadError,
    },
    /// The text is not a signature.
    #[error(
        "the text given as its signature is not a minisign signature: make one with `minisign -S` ({problem})"
    )]
    Format {
        /// The parser's words.
        problem: String,
    },
    /// Another key signed the plugin.
    #[error(
        "it is signed with key {found}, and must be with {trusted}: \
         deploy what that key has signed, or add the other one to the trusted keys"
    )]
    OtherKey {
        /// The key that signed.
        found: KeyId,
        /// The keys that count.
        trusted: String,
    },
    /// The signature was made of other bytes.
    #[error(
        "its signature by key {key} was made of other bytes: one of both was changed since; \
         deploy the two files that belong together"
    )]
    OtherBytes {
        /// The key that is said to have signed.
        key: KeyId,
    },
    /// The plugin is signed with another trusted comment.
    #[error(
        "it is signed by key {key} as `{found}`, and must be as `{expected}`: deploy the plugin and \
         the release that are meant, or change `module.trusted_comment`"
    )]
    OtherComment {
        /// The key that signed.
        key: KeyId,
        /// The comment of the signature.
        found: String,
        /// The comment that it must have.
        expected: Arc<str>,
    },
}

impl SignaturePolicy {
    /// Checks that one of the keys signed these bytes, which came from `module` if from a file.
    /// Blocks: call it where blocking is allowed.
    pub(crate) fn check(
        &self,
        module: Option<&Path>,
        bytes: &[u8],
    ) -> Result<KeyId, SignatureError> {
        let text = self.read(module)?;
        let bad = |error: &dyn fmt::Display| SignatureError::Format {
            problem: error.to_string(),
        };
        let signature = minisign_verify::Signature::decode(&text).map_err(|error| bad(&error))?;
        let found = text.lines().nth(1).and_then(KeyId::of);
        let found = found.ok_or_else(|| bad(&"no key in it"))?;
        // Two keys may have the same id; the one that fits counts.
        let mut named = self.keys.iter().filter(|key| key.id == found).peekable();
        if named.peek().is_none() {
            return Err(SignatureError::OtherKey {
                found,
                trusted: self.trusted(),
            });
        }
        let mut fitting = named.filter(|key| key.key.verify(bytes, &signature, true).is_ok());
        let key = fitting.next().map(PublicKey::id);
        let key = key.ok_or(SignatureError::OtherBytes { key: found })?;
        self.check_comment(key, signature.trusted_comment())?;
        Ok(key)
    }

    /// Checks that the comment contains every expected word. It compares words, because `minisign`
    /// adds some of its own: the time and the file.
    fn check_comment(&self, key: KeyId, comment: &str) -> Result<(), SignatureError> {
        let Some(expected) = &self.comment else {
            return Ok(());
        };
        let words: Vec<&str> = comment.split_whitespace().collect();
        if expected
            .split_whitespace()
            .all(|word| words.contains(&word))
        {
            return Ok(());
        }
        Err(SignatureError::OtherComment {
            key,
            found: printable(comment, MESSAGE_BYTES),
            expected: Arc::clone(expected),
        })
    }

    fn read(&self, module: Option<&Path>) -> Result<Arc<str>, SignatureError> {
        let path = match (&self.signature, module) {
            (SignatureSource::Text(text), _) => return Ok(Arc::clone(text)),
            (SignatureSource::File(path), _) => path.clone(),
            (SignatureSource::Beside, Some(module)) => beside(module),
            (SignatureSource::Beside, None) | (SignatureSource::Missing, _) => {
                return Err(SignatureError::Missing {
                    trusted: self.trusted(),
                });
            }
        };
        let bytes = match read_within(&path, MAX_BYTES) {
            Ok(bytes) => bytes,
            Err(ReadError::Io(error)) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(SignatureError::NoFile {
                    trusted: self.trusted(),
                    path,
                });
            }
            Err(source) => return Err(SignatureError::Read { path, source }),
        };
        match String::from_utf8(bytes) {
            Ok(text) => Ok(text.into()),
            Err(error) => Err(SignatureError::Format {
                problem: error.to_string(),
            }),
        }
    }

    /// Returns the keys that count, for people.
    fn trusted(&self) -> String {
        let ids: Vec<String> = self
            .keys
            .iter()
            .map(|key| format!("key {}", key.id))
            .collect();
        ids.join(" or ")
    }
}

/// Returns the path where the signature of a file is looked for.
pub fn beside(module: &Path) -> PathBuf {
    let mut path = module.as_os_str().to_owned();
    path.push(".");
    path.push(EXTENSION);
    path.into()
}

#[cfg(test)]
mod tests;
