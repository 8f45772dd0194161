//! Compiled code on disk, so that a second start does not compile.
//!
//! A file is named by the component's digest and the engine's compatibility, and starts with a
//! digest of its name and content. The directory and its files must belong to this user alone, and
//! nobody else may put another directory in its place, because compiled code is run as it is. A
//! damaged file, or a directory that cannot be written, costs a compilation and a warning.

use std::path::{Path, PathBuf};
use std::time::Duration;

use spandrel_supply::private_dir::{
    PrivateDir, PrivateDirError, PrivateFileError, Quota, user_cache,
};
use spandrel_supply::{Artifact, Digest};
use wasmtime::component::Component;

use crate::codegen::CODE_BYTES;

pub(crate) mod trusted;

/// The bytes that mark the layout of the files.
const MAGIC: &[u8; 16] = b"spandrel-code-1\n";
const EXTENSION: &str = "compiled";
/// The quota for all files. 64: some generations of every plugin of a large config, at a few hundred
/// KiB each.
const QUOTA: Quota<'_> = Quota {
    extensions: &[EXTENSION],
    files: 64,
    bytes: u64::MAX,
};

/// The origin of a generation's code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodeOrigin {
    /// The code was compiled now.
    Compiled {
        /// The time that compiling took.
        elapsed: Duration,
    },
    /// The code was compiled before, and read from the cache.
    Cached,
}

/// Returns the directory for compiled code in the user's cache directory.
pub fn default_directory() -> Option<PathBuf> {
    Some(user_cache()?.join("compiled"))
}

/// The reason why a file of the cache is not used.
#[derive(Debug, thiserror::Error)]
enum DamagedError {
    #[error(transparent)]
    File(#[from] PrivateFileError),
    #[error("the file's digest does not fit its content")]
    Digest,
    #[error("the engine does not take the code")]
    Engine(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// The cache of one engine.
#[derive(Debug)]
pub(crate) struct CodeCache {
    directory: PrivateDir,
    /// The digest of what the code must fit.
    engine: Digest,
}

impl CodeCache {
    /// Makes the directory if there is none, and checks that it belongs to this user alone.
    /// `engine` is what the code must fit.
    pub(crate) fn open(directory: &Path, engine: Digest) -> Result<Self, PrivateDirError> {
        let directory = PrivateDir::open_irreplaceable(directory)?;
        Ok(Self { directory, engine })
    }

    /// Returns the component if its code is here. A bad file costs a warning.
    pub(crate) fn find(&self, engine: &wasmtime::Engine, artifact: &Artifact) -> Option<Component> {
        let key = self.key(artifact);
        let found = self.read(engine, key);
        found.unwrap_or_else(|error| {
            tracing::warn!(
                file = %self.directory.file(&file_name(key)).display(),
                error = &error as &dyn std::error::Error,
                "compiled plugin not usable, compiling again"
            );
            None
        })
    }

    /// Stores a component's code. Code that cannot be stored costs a warning, and a compilation
    /// later.
    pub(crate) fn keep(&self, artifact: &Artifact, code: &[u8]) {
        let key = self.key(artifact);
        let name = file_name(key);
        let seal = seal(key, code);
        let parts = [MAGIC.as_slice(), seal.as_bytes(), code];
        if let Err(error) = self.directory.write(&name, &parts, QUOTA) {
            tracing::warn!(
                file = %self.directory.file(&name).display(),
                error = &error as &dyn std::error::Error,
                "compiled plugin not cached"
            );
        }
    }

    /// Returns the name of a component for this engine.
    fn key(&self, artifact: &Artifact) -> Digest {
        Digest::of_parts(&[artifact.digest().as_bytes(), self.engine.as_bytes()])
    }

    fn read(
        &self,
        engine: &wasmtime::Engine,
        key: Digest,
    ) -> Result<Option<Component>, DamagedError> {
        let name = file_name(key);
        let Some(content) = self.directory.read(&name, CODE_BYTES)? else {
            return Ok(None);
        };
        let code = check(&content, key).ok_or(DamagedError::Digest)?;
        let component = trusted::deserialize(engine, code)
            .map_err(|error| DamagedError::Engine(error.into()))?;
        let touched = self.directory.touch(&name);
        touched.unwrap_or_else(|error| tracing::debug!(%error, "compiled plugin not touched"));
        Ok(Some(component))
    }
}

fn file_name(key: Digest) -> String {
    format!("{key}.{EXTENSION}")
}

/// Returns the code behind the header, if the header fits it and `key` names it.
fn check(content: &[u8], key: Digest) -> Option<&[u8]> {
    let rest = content.strip_prefix(MAGIC)?;
    let (digest, code) = rest.split_first_chunk::<32>()?;
    (digest == seal(key, code).as_bytes()).then_some(code)
}

fn seal(key: Digest, code: &[u8]) -> Digest {
    Digest::of_parts(&[MAGIC, key.as_bytes(), code])
}
