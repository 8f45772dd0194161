//! A plugin's file: read within a limit, told apart, identified by its digest.

use std::fmt;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::error::LoadError;

/// The largest plugin. 64 MiB: components with a whole interpreter inside (Python) have some 40.
pub const MAX_BYTES: u64 = 64 << 20;

/// A sha256, shown in hex.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// The digest of these parts, one after the other.
    pub fn of(parts: &[&[u8]]) -> Self {
        let mut hash = Sha256::new();
        for part in parts {
            hash.update(part);
        }
        Self(hash.finalize().into())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The bytes of a plugin's file: a component by its first bytes, of a size that is accepted.
#[derive(Clone)]
pub struct Artifact {
    path: PathBuf,
    bytes: Vec<u8>,
    digest: Digest,
}

impl fmt::Debug for Artifact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Artifact")
            .field("path", &self.path)
            .field("bytes", &self.bytes.len())
            .field("digest", &self.digest)
            .finish()
    }
}

impl Artifact {
    /// Reads the file. Blocks: call it where blocking is allowed.
    pub fn read(path: &Path) -> Result<Self, LoadError> {
        let bytes = read_within(path, MAX_BYTES).map_err(|source| LoadError::Read {
            path: path.to_owned(),
            source,
        })?;
        let Some(bytes) = bytes else {
            return Err(LoadError::TooLarge {
                path: path.to_owned(),
                limit_bytes: MAX_BYTES,
            });
        };
        check_kind(path, &bytes)?;
        let digest = Digest::of(&[&bytes]);
        Ok(Self {
            path: path.to_owned(),
            bytes,
            digest,
        })
    }

    /// Where it was read.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The sha256 of its bytes.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// The file's bytes, or nothing when there are more than `limit`.
fn read_within(path: &Path, limit: u64) -> std::io::Result<Option<Vec<u8>>> {
    let file = std::fs::File::open(path)?;
    if file.metadata()?.len() > limit {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    // A file may grow while it is read, and a pipe has no length: the limit holds for the bytes.
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    Ok((length <= limit).then_some(bytes))
}

fn check_kind(path: &Path, bytes: &[u8]) -> Result<(), LoadError> {
    // A WebAssembly file starts with a magic word, a version, and a layer: 0 core, 1 component.
    match bytes.first_chunk::<8>() {
        Some([b'\0', b'a', b's', b'm', _, _, 1, 0]) => Ok(()),
        Some([b'\0', b'a', b's', b'm', ..]) => Err(LoadError::CoreModule {
            path: path.to_owned(),
        }),
        _ => Err(LoadError::NotAComponent {
            path: path.to_owned(),
            found: describe(bytes),
        }),
    }
}

fn describe(bytes: &[u8]) -> String {
    let start = bytes.get(..8).unwrap_or(bytes);
    if start.is_empty() {
        return "nothing, it is empty".to_owned();
    }
    format!("\"{}\"", start.escape_ascii())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{Artifact, read_within};

    fn message(content: &[u8]) -> String {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("p.wasm");
        fs::write(&path, content).expect("written");
        let error = Artifact::read(&path).expect_err("not a component");
        let directory = format!("{}/", directory.path().display());
        error.to_string().replace(&directory, "")
    }

    /// Each kind of file that is not a component has its own message.
    #[test]
    fn files_that_are_not_components_are_told_apart() {
        assert_eq!(
            message(b"\0asm\x01\0\0\0"),
            "plugin `p.wasm` is a core WebAssembly module, not a component: \
             build it with `cargo build --release --target wasm32-wasip2`"
        );
        assert_eq!(
            message(b"\x7fELF\x02\x01\x01\0rest"),
            "plugin `p.wasm` is not a WebAssembly component: it starts with \"\\x7fELF\\x02\\x01\\x01\\x00\""
        );
        assert_eq!(
            message(b""),
            "plugin `p.wasm` is not a WebAssembly component: it starts with nothing, it is empty"
        );
    }

    /// The limit holds to the byte.
    #[test]
    fn a_file_over_the_limit_is_not_read() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        fs::write(file.path(), [7; 10]).expect("written");
        assert_eq!(
            read_within(file.path(), 10).expect("read"),
            Some(vec![7; 10])
        );
        assert_eq!(read_within(file.path(), 9).expect("read"), None);
    }
}
