//! Compiled code on disk, so that a second start does not compile.
//!
//! A file is named by the component's digest and the engine's compatibility, and starts with a
//! digest of its name and content. The directory and its files must belong to this user alone, and
//! nobody else may put another directory in its place, because compiled code is run as it is. A
//! damaged file, or a directory that cannot be written, costs a compilation and a warning.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::hash::{Hash, Hasher};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use sha2::{Digest as _, Sha256};
use wasmtime::component::Component;

use crate::artifact::{Artifact, Digest};

pub(crate) mod trusted;

/// The number of files that are kept; the oldest are removed. 64: some generations of every plugin
/// of a large config, at a few hundred KiB each.
const FILES: usize = 64;
/// The largest file that is read back. Compiled code is about four times its component.
pub(crate) const FILE_BYTES: u64 = 8 * crate::artifact::MAX_BYTES;
/// The bytes that mark the layout of the files.
const MAGIC: &[u8; 16] = b"spandrel-code-1\n";
const EXTENSION: &str = "compiled";
/// The bit of a directory's mode with which only owners may rename the entries.
const STICKY: u32 = 0o1000;

/// The origin of a generation's code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// The code was compiled now.
    Compiled {
        /// The time that compiling took.
        elapsed: Duration,
    },
    /// The code was compiled before, and read from the cache.
    Cached,
}

/// Returns the user's cache directory: `$XDG_CACHE_HOME/spandrel`, or under `~/.cache`.
pub fn default_base() -> Option<PathBuf> {
    let absolute = |name| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let base = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")))?;
    Some(base.join("spandrel"))
}

/// Returns the directory for compiled code in the user's cache directory.
pub fn default_directory() -> Option<PathBuf> {
    Some(default_base()?.join("compiled"))
}

/// The reason why the directory is not fit to hold code that we run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CacheError {
    #[error("cannot make or read the directory")]
    Directory(#[source] io::Error),
    #[error("the directory belongs to user {owner}, this process runs as {us}")]
    Owner { owner: u32, us: u32 },
    #[error("others may write to the directory (mode {mode:o}): run chmod 700 on it")]
    Mode { mode: u32 },
    #[error(
        "others may replace the directory, because `{}` is not this user's or root's alone: \
         name another `cache_dir`",
        path.display()
    )]
    Parent { path: PathBuf },
}

/// The reason why a file of the cache is not used.
#[derive(Debug, thiserror::Error)]
enum DamagedError {
    #[error("cannot read the file")]
    Read(#[source] io::Error),
    #[error("the file is larger than compiled code can be")]
    TooLarge,
    #[error("it is no file that this user alone may write to")]
    NotOurs,
    #[error("the file's digest does not fit its content")]
    Digest,
    #[error("the engine does not take the code")]
    Engine(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// The cache of one engine.
#[derive(Debug)]
pub(crate) struct CodeCache {
    directory: PathBuf,
    engine: Digest,
}

impl CodeCache {
    /// Makes the directory if there is none, and checks that it belongs to this user alone.
    pub(crate) fn open(directory: &Path, engine: &wasmtime::Engine) -> Result<Self, CacheError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(CacheError::Directory)?;
        let metadata = fs::metadata(directory).map_err(CacheError::Directory)?;
        let us = rustix::process::geteuid().as_raw();
        if metadata.uid() != us {
            return Err(CacheError::Owner {
                owner: metadata.uid(),
                us,
            });
        }
        let mode = metadata.mode() & 0o777;
        if mode & 0o022 != 0 {
            return Err(CacheError::Mode { mode });
        }
        // From now on the canonical name is used: the one that was checked, with all links
        // resolved.
        let directory = fs::canonicalize(directory).map_err(CacheError::Directory)?;
        for parent in directory.ancestors().skip(1) {
            let metadata = fs::metadata(parent).map_err(CacheError::Directory)?;
            let is_trusted = [us, 0].contains(&metadata.uid());
            let is_closed = metadata.mode() & 0o022 == 0 || metadata.mode() & STICKY != 0;
            if !is_trusted || !is_closed {
                let path = parent.to_owned();
                return Err(CacheError::Parent { path });
            }
        }
        Ok(Self {
            directory,
            engine: compatibility(engine),
        })
    }

    /// Returns the component if its code is here. A bad file costs a warning.
    pub(crate) fn find(&self, engine: &wasmtime::Engine, artifact: &Artifact) -> Option<Component> {
        let (path, key) = self.place(artifact);
        let found = self.read(engine, &path, key);
        found.unwrap_or_else(|error| {
            tracing::warn!(
                file = %path.display(),
                error = &error as &dyn std::error::Error,
                "compiled plugin not usable, compiling again"
            );
            None
        })
    }

    /// Stores a component's code. Code that cannot be stored costs a warning, and a compilation
    /// later.
    pub(crate) fn keep(&self, artifact: &Artifact, code: &[u8]) {
        let (path, key) = self.place(artifact);
        let written = self.write(&path, key, code);
        if let Err(error) = written {
            tracing::warn!(
                file = %path.display(),
                error = &error as &dyn std::error::Error,
                "compiled plugin not cached"
            );
        }
    }

    fn place(&self, artifact: &Artifact) -> (PathBuf, Digest) {
        let key = self.key(artifact);
        (self.directory.join(format!("{key}.{EXTENSION}")), key)
    }

    /// Returns the name of a component for this engine.
    fn key(&self, artifact: &Artifact) -> Digest {
        Digest::of(&[&artifact.digest().0, &self.engine.0])
    }

    fn read(
        &self,
        engine: &wasmtime::Engine,
        path: &Path,
        key: Digest,
    ) -> Result<Option<Component>, DamagedError> {
        let Some(file) = open_ours(path)? else {
            return Ok(None);
        };
        let mut content = Vec::new();
        let length = file
            .take(FILE_BYTES.saturating_add(1))
            .read_to_end(&mut content)
            .map_err(DamagedError::Read)?;
        if u64::try_from(length).unwrap_or(u64::MAX) > FILE_BYTES {
            return Err(DamagedError::TooLarge);
        }
        let code = check(&content, key).ok_or(DamagedError::Digest)?;
        let component = trusted::deserialize(engine, code)
            .map_err(|error| DamagedError::Engine(error.into()))?;
        // The oldest files are removed first, and this one is in use.
        if let Ok(file) = OpenOptions::new().append(true).open(path) {
            let touched = file.set_modified(SystemTime::now());
            touched.unwrap_or_else(|error| tracing::debug!(%error, "compiled plugin not touched"));
        }
        Ok(Some(component))
    }

    /// Writes a temporary file and renames it, so that a reader sees all of a file or none of it.
    fn write(&self, path: &Path, key: Digest, code: &[u8]) -> io::Result<()> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let temporary = path.with_extension(format!("{}-{number}.tmp", std::process::id()));
        let written = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)
            .and_then(|mut file| {
                file.write_all(MAGIC)?;
                file.write_all(&seal(key, code).0)?;
                file.write_all(code)
            })
            .and_then(|()| fs::rename(&temporary, path));
        if written.is_err() {
            fs::remove_file(&temporary).unwrap_or_default();
        }
        written?;
        self.evict()
    }

    fn evict(&self) -> io::Result<()> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            let path = entry.path();
            // A writer that was killed leaves a temporary file; it ages like the others.
            if path
                .extension()
                .is_some_and(|name| name == EXTENSION || name == "tmp")
            {
                files.push((entry.metadata()?.modified()?, path));
            }
        }
        files.sort();
        let surplus = files.len().saturating_sub(FILES);
        for (_, path) in files.iter().take(surplus) {
            fs::remove_file(path)?;
        }
        Ok(())
    }
}

/// Opens a file that nobody else can have written; `None` if there is no file.
fn open_ours(path: &Path) -> Result<Option<File>, DamagedError> {
    // This must not follow a link, nor wait for the writer of a pipe.
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_file() => {}
        Ok(_) => return Err(DamagedError::NotOurs),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(DamagedError::Read(error)),
    }
    let file = File::open(path).map_err(DamagedError::Read)?;
    let metadata = file.metadata().map_err(DamagedError::Read)?;
    let is_ours = metadata.uid() == rustix::process::geteuid().as_raw();
    match is_ours && metadata.mode() & 0o022 == 0 {
        true => Ok(Some(file)),
        false => Err(DamagedError::NotOurs),
    }
}

/// Returns the code behind the header, if the header fits it and `key` names it.
fn check(content: &[u8], key: Digest) -> Option<&[u8]> {
    let rest = content.strip_prefix(MAGIC)?;
    let (digest, code) = rest.split_first_chunk::<32>()?;
    (*digest == seal(key, code).0).then_some(code)
}

fn seal(key: Digest, code: &[u8]) -> Digest {
    Digest::of(&[MAGIC, &key.0, code])
}

/// Returns a digest of everything except the component that compiled code depends on.
pub(crate) fn compatibility(engine: &wasmtime::Engine) -> Digest {
    /// Feeds a hash of the standard library's kind into a digest that is the same in each process.
    struct Digesting(Sha256);
    impl Hasher for Digesting {
        fn write(&mut self, bytes: &[u8]) {
            self.0.update(bytes);
        }
        fn finish(&self) -> u64 {
            0
        }
    }
    let mut digesting = Digesting(Sha256::new());
    engine.precompile_compatibility_hash().hash(&mut digesting);
    Digest(digesting.0.finalize().into())
}
