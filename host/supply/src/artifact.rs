//! The bytes of a plugin: read within a limit, checked for their kind, identified by their digest,
//! and compared with what the operator demands of them.

use std::fmt;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::digest::Digest;
use crate::file::{ReadError, read_within};
use crate::signature::{SignatureError, SignaturePolicy};

/// The largest plugin. 64 MiB: components with a whole interpreter inside (Python) have some 40.
pub const MAX_BYTES: u64 = 64 << 20;

/// The reason why the bytes of a plugin are not taken: the problem, the place, and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// The file cannot be read.
    #[error("cannot read plugin `{module}`: check the path and its permissions")]
    Read {
        /// The plugin's file, or the name of an upload.
        module: String,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The file is larger than a plugin may be.
    #[error(
        "plugin `{module}` is larger than {} MiB: build it in release mode and strip it",
        limit_bytes >> 20
    )]
    TooLarge {
        /// The plugin's file, or the name of an upload.
        module: String,
        /// The limit.
        limit_bytes: u64,
    },
    /// The file's content does not have the digest that the config pins.
    #[error(
        "plugin `{module}` has sha256 {found}, the config pins {pinned}: \
         deploy the pinned file, or change `module.sha256`"
    )]
    Digest {
        /// The plugin's file, or the name of an upload.
        module: String,
        /// The digest that the config asks for.
        pinned: Digest,
        /// The digest of the file.
        found: Digest,
    },
    /// No trusted key signed the plugin.
    #[error("plugin `{module}` is not signed as it must be")]
    Signature {
        /// The plugin's file, or the name of an upload.
        module: String,
        /// The problem with the signature.
        #[source]
        source: SignatureError,
    },
    /// The file is a core WebAssembly module.
    #[error(
        "plugin `{module}` is a core WebAssembly module, not a component: \
         build it with `cargo build --release --target wasm32-wasip2`"
    )]
    CoreModule {
        /// The plugin's file, or the name of an upload.
        module: String,
    },
    /// The file is not WebAssembly at all.
    #[error("plugin `{module}` is not a WebAssembly component: it starts with {found}")]
    NotAComponent {
        /// The plugin's file, or the name of an upload.
        module: String,
        /// Its first bytes, readable.
        found: String,
    },
}

/// The place of a plugin's bytes on this machine.
#[derive(Clone, Debug)]
pub enum ArtifactSource<'a> {
    /// In a file.
    File(&'a Path),
    /// In memory: an upload, or what was fetched.
    Bytes {
        /// The name of the bytes in messages.
        name: &'a str,
        /// The plugin's bytes.
        bytes: Bytes,
    },
}

impl<'a> From<&'a Path> for ArtifactSource<'a> {
    fn from(path: &'a Path) -> Self {
        Self::File(path)
    }
}

impl<'a> From<&'a PathBuf> for ArtifactSource<'a> {
    fn from(path: &'a PathBuf) -> Self {
        Self::File(path)
    }
}

impl ArtifactSource<'_> {
    /// Returns the name for messages: the path, or the name of the bytes.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Bytes { name, .. } => (*name).to_owned(),
        }
    }

    /// Returns the work that reads the bytes and checks that they may run: they must have the
    /// `pinned` digest and a signature by `policy`, if there are such. The work blocks, so it is
    /// for another thread.
    pub fn reader(
        &self,
        pinned: Option<Digest>,
        policy: Option<SignaturePolicy>,
    ) -> impl FnOnce() -> Result<Artifact, ArtifactError> + Send + 'static {
        let name = self.name();
        let source = match self {
            Self::File(path) => Err(path.to_path_buf()),
            Self::Bytes { bytes, .. } => Ok(bytes.clone()),
        };
        move || {
            let (artifact, path) = match source {
                Ok(bytes) => (Artifact::from_bytes(&name, bytes)?, None),
                Err(path) => (Artifact::read(&path)?, Some(path)),
            };
            artifact.check_pinned(pinned)?;
            artifact.check_signed(path.as_deref(), policy.as_ref())?;
            Ok(artifact)
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
    ///
    /// # Errors
    /// Fails if the file cannot be read, is too large, or is not a component.
    pub fn read(path: &Path) -> Result<Self, ArtifactError> {
        let name = path.display().to_string();
        match read_within(path, MAX_BYTES) {
            Ok(bytes) => Self::from_bytes(&name, bytes),
            Err(ReadError::TooLarge { .. }) => Err(too_large(name)),
            Err(ReadError::Io(source)) => Err(ArtifactError::Read {
                module: name,
                source,
            }),
        }
    }

    /// Takes bytes that were read elsewhere, under a name for messages.
    ///
    /// # Errors
    /// Fails if there are too many, or they are not a component.
    pub fn from_bytes(name: &str, bytes: impl Into<Bytes>) -> Result<Self, ArtifactError> {
        let bytes = bytes.into();
        if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > MAX_BYTES {
            return Err(too_large(name.to_owned()));
        }
        check_kind(name, &bytes)?;
        let digest = Digest::of(&bytes);
        Ok(Self {
            name: name.to_owned(),
            bytes,
            digest,
        })
    }

    /// Returns the file, or the name that an upload came with.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the sha256 of its bytes.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Returns its bytes.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    fn check_pinned(&self, pinned: Option<Digest>) -> Result<(), ArtifactError> {
        match pinned.filter(|pinned| *pinned != self.digest) {
            None => Ok(()),
            Some(pinned) => Err(ArtifactError::Digest {
                module: self.name.clone(),
                pinned,
                found: self.digest,
            }),
        }
    }

    fn check_signed(
        &self,
        path: Option<&Path>,
        policy: Option<&SignaturePolicy>,
    ) -> Result<(), ArtifactError> {
        let Some(policy) = policy else {
            return Ok(());
        };
        let checked = policy.check(path, &self.bytes);
        let key = checked.map_err(|source| ArtifactError::Signature {
            module: self.name.clone(),
            source,
        })?;
        tracing::info!(module = self.name, key = %key, "plugin signature is good");
        Ok(())
    }
}

fn too_large(module: String) -> ArtifactError {
    ArtifactError::TooLarge {
        module,
        limit_bytes: MAX_BYTES,
    }
}

fn check_kind(name: &str, bytes: &[u8]) -> Result<(), ArtifactError> {
    let module = name.to_owned();
    // A WebAssembly file starts with a magic word, a version, and a layer: 0 core, 1 component.
    match bytes.first_chunk::<8>() {
        Some([b'\0', b'a', b's', b'm', _, _, 1, 0]) => Ok(()),
        Some([b'\0', b'a', b's', b'm', ..]) => Err(ArtifactError::CoreModule { module }),
        _ => Err(ArtifactError::NotAComponent {
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

    use super::{Artifact, Digest, MAX_BYTES};

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
        assert_eq!(component.digest(), Digest::of(component.bytes()));
    }

    /// A path that is not a file is not opened: a named pipe would block.
    #[test]
    fn what_is_no_file_is_not_opened() {
        let directory = tempfile::tempdir().expect("a directory");
        let error = Artifact::read(directory.path()).expect_err("a directory");
        let cause = std::error::Error::source(&error).expect("a cause");
        assert_eq!(cause.to_string(), "it is not a file");
    }
}
