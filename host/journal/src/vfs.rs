//! The files below a journal, as a trait: every call can fail in a test, and a crash can fall
//! between any two calls.

mod disk;
mod memory;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

pub use disk::Disk;
pub use memory::Memory;

/// Directories, locks, and the two things that make one run differ from the next: time and chance.
pub trait Vfs: fmt::Debug + Send + Sync {
    /// Makes a directory in one that exists.
    ///
    /// # Errors
    /// Returns the system's error; `AlreadyExists` if there is one.
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// Returns the names in a directory that are Unicode.
    ///
    /// # Errors
    /// Returns the system's error; `NotFound` if there is no such directory.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// Makes a file that is not there yet, to read and to write.
    ///
    /// # Errors
    /// Returns the system's error.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>>;

    /// Opens a file to read and to write.
    ///
    /// # Errors
    /// Returns the system's error.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>>;

    /// Removes a file.
    ///
    /// # Errors
    /// Returns the system's error.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the entries of a directory durable.
    ///
    /// # Errors
    /// Returns the system's error.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Takes a lock file for as long as the returned lock lives, and makes the file if there is
    /// none. The number of the process that has the lock is in the file.
    ///
    /// # Errors
    /// Returns a [`LockError`].
    fn lock(&self, path: &Path) -> Result<Box<dyn Lock>, LockError>;

    /// Returns the time of the wall clock.
    fn now(&self) -> SystemTime;

    /// Returns a number that nobody outside can guess.
    fn salt(&self) -> u64;
}

/// An open file. Offsets are from its beginning.
#[expect(
    clippy::len_without_is_empty,
    reason = "the length of a file, which can fail; nobody asks whether it is empty"
)]
pub trait File: fmt::Debug + Send + Sync {
    /// Returns the length of the file.
    ///
    /// # Errors
    /// Returns the system's error.
    fn len(&self) -> io::Result<u64>;

    /// Fills `bytes` from this offset on.
    ///
    /// # Errors
    /// Returns the system's error; `UnexpectedEof` if the file ends before.
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()>;

    /// Writes all of `parts`, one after the other.
    ///
    /// # Errors
    /// Returns the system's error. Any part of the bytes may have been written then.
    fn write_at(&self, parts: &[&[u8]], offset: u64) -> io::Result<()>;

    /// Writes zeros up to this length, so that later writes change nothing but content.
    ///
    /// # Errors
    /// Returns the system's error.
    fn allocate(&self, length: u64) -> io::Result<()>;

    /// Makes the content durable, and as much of the metadata as is needed to read it.
    ///
    /// # Errors
    /// Returns the system's error. Bytes that were written since the last sync may be lost then,
    /// and a second call would not say so. So nobody makes a second call.
    fn sync_data(&self) -> io::Result<()>;
}

/// A lock that is held.
pub trait Lock: fmt::Debug + Send + Sync {}

/// The reason why a lock was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has it.
    #[error("process {} holds the lock", pid.map_or_else(|| "unknown".to_owned(), |pid| pid.to_string()))]
    Held {
        /// The number of that process, if the file says it.
        pid: Option<u32>,
    },
    /// A system call failed.
    #[error("the lock file cannot be used")]
    Io(#[source] io::Error),
}

/// Returns true if the error means that the disk has no room.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// Makes a directory and the missing ones above it, each durable in the one above.
pub(crate) fn ensure_dir(vfs: &dyn Vfs, path: &Path) -> io::Result<()> {
    let mut missing: Vec<PathBuf> = Vec::new();
    let mut above = path.ancestors();
    for dir in above.by_ref() {
        match vfs.list(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                missing.push(dir.to_path_buf());
            }
            Err(error) if dir == path => return Err(error),
            _ => break,
        }
    }
    for dir in missing
        .iter()
        .rev()
        .filter(|dir| !dir.as_os_str().is_empty())
    {
        match vfs.create_dir(dir) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        vfs.sync_dir(parent(dir))?;
    }
    if missing.is_empty() {
        // A process may have made it, and died before it was durable.
        for dir in path
            .ancestors()
            .take_while(|dir| !dir.as_os_str().is_empty())
        {
            if let Err(error) = vfs.sync_dir(parent(dir)) {
                // We cannot have made this directory if the one above cannot be synced.
                tracing::debug!(dir = %dir.display(), %error, "directory not synced");
            }
        }
    }
    Ok(())
}

fn parent(dir: &Path) -> &Path {
    let parent = dir.parent().filter(|path| !path.as_os_str().is_empty());
    parent.unwrap_or(Path::new("."))
}
