//! Who made a plugin: detached signatures in minisign's format.
//!
//! A signature is over the bytes, and is checked before the compiler sees them. Its trusted comment
//! is signed, too, and checked with it. Both forms are taken: over a hash of the bytes (`minisign`'s
//! default), and over the bytes themselves (its older one).

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::artifact::{ReadError, read_within};
use crate::text::{MESSAGE_BYTES, printable};

/// Appended to a module's path, the path of its signature; as `minisign -S` does.
pub const EXTENSION: &str = "minisig";
/// The largest signature or key file. Four lines: some 400 bytes, and a comment.
pub const MAX_BYTES: u64 = 64 << 10;

/// Which key: what `minisign` prints when it makes one.
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
    /// Keys and signatures alike begin with two letters for the algorithm, and the key's id.
    fn of(base64: &str) -> Option<Self> {
        let bytes = BASE64_STANDARD.decode(base64).ok()?;
        let (_, rest) = bytes.split_first_chunk::<2>()?;
        let (id, _) = rest.split_first_chunk::<8>()?;
        Some(Self(u64::from_le_bytes(*id)))
    }
}

/// It is no public key of minisign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is no public key of minisign: that is one line that begins with RW")]
pub struct NotAKey;

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
    /// When there is no such line, or it is damaged.
    pub fn parse(text: &str) -> Result<Self, NotAKey> {
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let line = lines.find(|line| !line.starts_with("untrusted comment:"));
        let line = line.ok_or(NotAKey)?;
        let key = minisign_verify::PublicKey::from_base64(line).map_err(|_| NotAKey)?;
        let id = KeyId::of(line).ok_or(NotAKey)?;
        Ok(Self { key, id })
    }

    /// Which one it is.
    pub fn id(&self) -> KeyId {
        self.id
    }
}

/// What must prove who made a plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signing {
    /// Whose signatures count; at least one.
    pub keys: Arc<[PublicKey]>,
    /// The words that its trusted comment must have, where it must have some: one key may sign more
    /// than one module, and older ones.
    pub comment: Option<Arc<str>>,
    /// Where the signature is.
    pub signature: SignatureSource,
}

/// Where a signature is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SignatureSource {
    /// In the file beside the module's, with `.minisig` appended to its name.
    Beside,
    /// In this file.
    File(PathBuf),
    /// Here: it came with the module.
    Text(Arc<str>),
    /// Nowhere: the module came without.
    Missing,
}

/// Why a plugin is not known to come from somebody who is trusted.
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
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The file with the signature cannot be read.
    #[error("cannot read its signature `{}`: check its permissions", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: ReadError,
    },
    /// It is no signature.
    #[error(
        "what is to be its signature is not one of minisign: make it with `minisign -S` ({problem})"
    )]
    Format {
        /// The words of the one who read it.
        problem: String,
    },
    /// It is signed by somebody else.
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
    /// The signature was made of something else.
    #[error(
        "its signature by key {key} was made of other bytes: one of both was changed since; \
         deploy the two files that belong together"
    )]
    OtherBytes {
        /// The key that is said to have signed.
        key: KeyId,
    },
    /// It is signed, as something else.
    #[error(
        "it is signed by key {key} as `{found}`, and must be as `{expected}`: deploy the plugin and \
         the release that are meant, or change `module.trusted_comment`"
    )]
    OtherComment {
        /// The key that signed.
        key: KeyId,
        /// What the signature says.
        found: String,
        /// What it must say.
        expected: Arc<str>,
    },
}

impl Signing {
    /// Whether one of the keys signed these bytes, which came from `module` if from a file. Blocks:
    /// call it where blocking is allowed.
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

    /// Whether every word is there that must be. Words, because `minisign` writes some of its own:
    /// when, and which file.
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

    /// The keys that count, for people.
    fn trusted(&self) -> String {
        let ids: Vec<String> = self
            .keys
            .iter()
            .map(|key| format!("key {}", key.id))
            .collect();
        ids.join(" or ")
    }
}

/// Where the signature of a file is looked for.
pub fn beside(module: &Path) -> PathBuf {
    let mut path = module.as_os_str().to_owned();
    path.push(".");
    path.push(EXTENSION);
    path.into()
}

#[cfg(test)]
mod tests;
