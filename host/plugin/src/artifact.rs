//! A plugin's file: read within a limit, checked for its kind, identified by its digest.

use std::fmt;
use std::io::Read as _;
use std::path::Path;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use crate::error::LoadError;

/// The largest plugin. 64 MiB: components with a whole interpreter inside (Python) have some 40.
pub const MAX_BYTES: u64 = 64 << 20;

/// A sha256, shown in hex.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// Computes the digest of these parts, one after the other.
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

/// The identity of a generation by content: the same bytes and config are the same generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The sha256 of the plugin's bytes.
    pub module: Digest,
    /// The sha256 of its config.
    pub config: Digest,
    /// The sha256 of both.
    pub generation: Digest,
}

impl Identity {
    /// Makes the identity of bytes with this digest and a config, in the form that the plugin gets
    /// it.
    pub fn new(module: Digest, config: &str) -> Self {
        Self {
            module,
            config: Digest::of(&[config.as_bytes()]),
            generation: Digest::of(&[&module.0, config.as_bytes()]),
        }
    }
}

/// The bytes of a plugin's file: a component by its first bytes, of a size that is accepted.
#[derive(Clone)]
pub struct Artifact {
    name: String,
    bytes: Bytes,
    digest: Digest,
}

impl fmt::Debug for Artifact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Artifact")
            .field("name", &self.name)
            .field("bytes", &self.bytes.len())
            .field("digest", &self.digest)
            .finish()
    }
}

impl Artifact {
    /// Reads the file. Blocks: call it where blocking is allowed.
    pub fn read(path: &Path) -> Result<Self, LoadError> {
        let name = path.display().to_string();
        match read_within(path, MAX_BYTES) {
            Ok(bytes) => Self::from_bytes(&name, bytes),
            Err(ReadError::TooLarge { .. }) => Err(too_large(name)),
            Err(ReadError::Io(source)) => Err(LoadError::Read {
                module: name,
                source,
            }),
        }
    }

    /// Takes bytes that were read elsewhere, under a name for messages.
    pub fn from_bytes(name: &str, bytes: impl Into<Bytes>) -> Result<Self, LoadError> {
        let bytes = bytes.into();
        if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > MAX_BYTES {
            return Err(too_large(name.to_owned()));
        }
        check_kind(name, &bytes)?;
        let digest = Digest::of(&[&bytes]);
        Ok(Self {
            name: name.to_owned(),
            bytes,
            digest,
        })
    }

    /// Returns the file, or the name that an upload came with.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the sha256 of its bytes.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Returns its bytes.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

fn too_large(module: String) -> LoadError {
    LoadError::TooLarge {
        module,
        limit_bytes: MAX_BYTES,
    }
}

/// The reason why a file was not read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The system reported an error.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// The file has more bytes than allowed.
    #[error("it is larger than {} KiB", limit_bytes >> 10)]
    TooLarge {
        /// The limit.
        limit_bytes: u64,
    },
}

/// Reads the file's bytes, at most `limit_bytes`.
pub(crate) fn read_within(path: &Path, limit_bytes: u64) -> Result<Vec<u8>, ReadError> {
    // Opening a named pipe would wait forever for somebody to write to it.
    if !std::fs::metadata(path)?.is_file() {
        return Err(std::io::Error::other("it is not a file").into());
    }
    let file = std::fs::File::open(path)?;
    if file.metadata()?.len() > limit_bytes {
        return Err(ReadError::TooLarge { limit_bytes });
    }
    let mut bytes = Vec::new();
    // A file may grow while it is read, so the limit also applies to the bytes that were read.
    file.take(limit_bytes.saturating_add(1))
        .read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > limit_bytes {
        return Err(ReadError::TooLarge { limit_bytes });
    }
    Ok(bytes)
}

fn check_kind(name: &str, bytes: &[u8]) -> Result<(), LoadError> {
    let module = name.to_owned();
    // A WebAssembly file starts with a magic word, a version, and a layer: 0 core, 1 component.
    match bytes.first_chunk::<8>() {
        Some([b'\0', b'a', b's', b'm', _, _, 1, 0]) => Ok(()),
        Some([b'\0', b'a', b's', b'm', ..]) => Err(LoadError::CoreModule { module }),
        _ => Err(LoadError::NotAComponent {
            module,
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

    use super::{Artifact, Digest, MAX_BYTES, ReadError, read_within};

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

    /// A file of 100 MiB is refused by its size. None of it is read, so the message is not about
    /// its content, which is empty.
    #[test]
    fn a_huge_file_is_refused_by_its_size() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("p.wasm");
        let file = fs::File::create(&path).expect("made");
        file.set_len(100 << 20).expect("a hole");
        let error = Artifact::read(&path).expect_err("too large");
        assert!(
            error
                .to_string()
                .ends_with("p.wasm` is larger than 64 MiB: build it in release mode and strip it"),
            "{error}"
        );
    }

    /// The bytes of an upload follow the same rules, and messages use the name that they came with.
    #[test]
    fn an_upload_is_under_the_same_rules() {
        let error = Artifact::from_bytes("upload", &b"#!/bin/sh\n"[..]).expect_err("no component");
        assert_eq!(
            error.to_string(),
            "plugin `upload` is not a WebAssembly component: it starts with \"#!/bin/s\""
        );
        let huge = vec![0; usize::try_from(MAX_BYTES).expect("fits") + 1];
        let error = Artifact::from_bytes("upload", huge).expect_err("too large");
        assert!(error.to_string().contains("larger than 64 MiB"), "{error}");
        let component = Artifact::from_bytes("upload", &b"\0asm\x0d\0\x01\0"[..]);
        let component = component.expect("a component's start");
        assert_eq!(component.name(), "upload");
        assert_eq!(component.digest(), Digest::of(&[component.bytes()]));
    }

    /// A path that is not a file is not opened: a named pipe would block.
    #[test]
    fn what_is_no_file_is_not_opened() {
        let directory = tempfile::tempdir().expect("a directory");
        let error = Artifact::read(directory.path()).expect_err("a directory");
        let cause = std::error::Error::source(&error).expect("a cause");
        assert_eq!(cause.to_string(), "it is not a file");
    }

    /// The limit is exact to the byte.
    #[test]
    fn a_file_over_the_limit_is_not_read() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        fs::write(file.path(), [7; 10]).expect("written");
        assert_eq!(read_within(file.path(), 10).expect("read"), [7; 10]);
        let error = read_within(file.path(), 9).expect_err("too large");
        assert!(matches!(error, ReadError::TooLarge { limit_bytes: 9 }));
    }
}
