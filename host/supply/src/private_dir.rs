//! A directory of this user alone, for files that are believed because nobody else can have
//! written them.
//!
//! Files are written as a whole or not at all, and the oldest are removed when there are too many.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use crate::file::{ReadError, read_open};

/// The permissions of group and others to write.
const WRITABLE_BY_OTHERS: u32 = 0o022;
/// The bit of a directory's mode with which only owners may rename the entries.
const STICKY: u32 = 0o1000;
/// The extension of a file that is still being written.
const TEMPORARY: &str = "tmp";

/// Returns the user's cache directory: `$XDG_CACHE_HOME/spandrel`, or under `~/.cache`.
#[must_use]
pub fn user_cache() -> Option<PathBuf> {
    let absolute = |name| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let base = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")))?;
    Some(base.join("spandrel"))
}

/// The reason why a directory is not this user's alone.
#[derive(Debug, thiserror::Error)]
pub enum PrivateDirError {
    /// The system reported an error.
    #[error("cannot make or read the directory")]
    Directory(#[source] io::Error),
    /// The directory belongs to somebody else.
    #[error("the directory belongs to user {owner}, this process runs as {us}")]
    Owner {
        /// The owner of the directory.
        owner: u32,
        /// The user of this process.
        us: u32,
    },
    /// Others may write to the directory.
    #[error("others may write to the directory (mode {mode:o}): run chmod 700 on it")]
    Mode {
        /// The permissions of the directory.
        mode: u32,
    },
    /// Others may put another directory in its place.
    #[error(
        "others may replace the directory, because `{}` is not this user's or root's alone: \
         name another `cache_dir`",
        path.display()
    )]
    Parent {
        /// The directory above it that others may write to.
        path: PathBuf,
    },
}

/// The reason why a file of the directory is not used.
#[derive(Debug, thiserror::Error)]
pub enum PrivateFileError {
    /// The file cannot be read, or is too large.
    #[error("cannot read the file")]
    Read(#[source] ReadError),
    /// The file is a link or a pipe, or others may write to it.
    #[error("it is no file that this user alone may write to")]
    NotOurs,
}

/// The number and size of the files that a directory may have.
#[derive(Clone, Copy, Debug)]
pub struct Quota<'a> {
    /// The extensions of the files that count, besides those that are still being written: a
    /// writer that was killed leaves one behind, and it ages like the others.
    pub extensions: &'a [&'a str],
    /// The number of files.
    pub files: usize,
    /// The bytes of all files together.
    pub bytes: u64,
}

/// A directory that only this user may write to.
#[derive(Debug, PartialEq, Eq)]
pub struct PrivateDir {
    path: PathBuf,
}

impl PrivateDir {
    /// Makes the directory if there is none, and checks that it belongs to this user alone.
    ///
    /// # Errors
    /// Fails if it cannot be made, is not this user's, or others may write to it.
    pub fn open(path: &Path) -> Result<Self, PrivateDirError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(PrivateDirError::Directory)?;
        let metadata = fs::metadata(path).map_err(PrivateDirError::Directory)?;
        let us = us();
        if metadata.uid() != us {
            return Err(PrivateDirError::Owner {
                owner: metadata.uid(),
                us,
            });
        }
        let mode = metadata.mode() & 0o777;
        if mode & WRITABLE_BY_OTHERS != 0 {
            return Err(PrivateDirError::Mode { mode });
        }
        Ok(Self {
            path: path.to_owned(),
        })
    }

    /// Opens the directory, and checks that nobody else can put another one in its place either.
    /// Files that are run need this.
    ///
    /// # Errors
    /// Fails as [`Self::open`] does, and if others may write to a directory above it.
    pub fn open_irreplaceable(path: &Path) -> Result<Self, PrivateDirError> {
        let Self { path } = Self::open(path)?;
        // From now on the canonical name is used: the one that was checked, with all links
        // resolved.
        let path = fs::canonicalize(path).map_err(PrivateDirError::Directory)?;
        for parent in path.ancestors().skip(1) {
            let metadata = fs::metadata(parent).map_err(PrivateDirError::Directory)?;
            let is_trusted = [us(), 0].contains(&metadata.uid());
            let is_closed =
                metadata.mode() & WRITABLE_BY_OTHERS == 0 || metadata.mode() & STICKY != 0;
            if !is_trusted || !is_closed {
                let path = parent.to_owned();
                return Err(PrivateDirError::Parent { path });
            }
        }
        Ok(Self { path })
    }

    /// Returns the path of a file in the directory.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Reads a file that nobody else can have written; `None` if there is no such file.
    ///
    /// # Errors
    /// Fails if it cannot be read, has more bytes than allowed, or others may write to it.
    pub fn read(&self, name: &str, limit_bytes: u64) -> Result<Option<Vec<u8>>, PrivateFileError> {
        let failed = |error: io::Error| PrivateFileError::Read(error.into());
        let path = self.file(name);
        // This must not follow a link, nor wait for the writer of a pipe.
        match fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.is_file() => {}
            Ok(_) => return Err(PrivateFileError::NotOurs),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        }
        let file = File::open(&path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if metadata.uid() != us() || metadata.mode() & WRITABLE_BY_OTHERS != 0 {
            return Err(PrivateFileError::NotOurs);
        }
        let bytes = read_open(file, limit_bytes).map_err(PrivateFileError::Read)?;
        Ok(Some(bytes))
    }

    /// Marks a file as in use now: the oldest files are removed first.
    ///
    /// # Errors
    /// Fails if the file's time cannot be set.
    pub fn touch(&self, name: &str) -> io::Result<()> {
        let file = OpenOptions::new().append(true).open(self.file(name))?;
        file.set_modified(SystemTime::now())
    }

    /// Writes a file of these parts, then removes the oldest files beyond the quota. The parts go
    /// to a temporary file that is renamed, so that a reader sees all of a file or none of it.
    ///
    /// # Errors
    /// Fails if the file cannot be written, or a surplus one not removed.
    pub fn write(&self, name: &str, parts: &[&[u8]], quota: Quota<'_>) -> io::Result<()> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = self.file(name);
        let temporary = path.with_extension(format!("{}-{number}.{TEMPORARY}", std::process::id()));
        let written = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)
            .and_then(|mut file| parts.iter().try_for_each(|part| file.write_all(part)))
            .and_then(|()| fs::rename(&temporary, path));
        if written.is_err() {
            fs::remove_file(&temporary).unwrap_or_default();
        }
        written?;
        self.evict(quota)
    }

    fn evict(&self, quota: Quota<'_>) -> io::Result<()> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let path = entry.path();
            let counts = path.extension().is_some_and(|name| {
                name == TEMPORARY || quota.extensions.iter().any(|known| name == *known)
            });
            if counts {
                let metadata = entry.metadata()?;
                files.push((metadata.modified()?, metadata.len(), path));
            }
        }
        // This puts the newest first.
        files.sort_by(|a, b| b.cmp(a));
        let mut bytes = 0_u64;
        for (index, (_, length, path)) in files.into_iter().enumerate() {
            bytes = bytes.saturating_add(length);
            if index >= quota.files || bytes > quota.bytes {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }
}

/// Returns the user that this process runs as.
fn us() -> u32 {
    rustix::process::geteuid().as_raw()
}
