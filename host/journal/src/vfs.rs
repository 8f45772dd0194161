//! The files below a journal, as a trait: every call can fail in a test, and a crash can fall
//! between any two of them.

mod disk;
mod memory;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

pub use disk::Disk;
pub use memory::Memory;

/// Directories, locks, and the two things that would make a run differ from the next: time and
/// chance.
pub trait Vfs: fmt::Debug + Send + Sync {
    /// Makes a directory in one that is there.
    ///
    /// # Errors
    /// The system's; `AlreadyExists` when there is one.
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// The names in a directory, of those that are Unicode.
    ///
    /// # Errors
    /// The system's; `NotFound` when there is no such directory.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// Makes a file that is not there yet, to read and to write.
    ///
    /// # Errors
    /// The system's.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>>;

    /// Opens a file to read and to write.
    ///
    /// # Errors
    /// The system's.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>>;

    /// Removes a file.
    ///
    /// # Errors
    /// The system's.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the entries of a directory durable.
    ///
    /// # Errors
    /// The system's.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Takes a lock file, made when there is none, for as long as the answer lives. The number of
    /// the process that has it is in the file.
    ///
    /// # Errors
    /// [`LockError`].
    fn lock(&self, path: &Path) -> Result<Box<dyn Lock>, LockError>;

    /// The wall clock.
    fn now(&self) -> SystemTime;

    /// A number that nobody outside can guess.
    fn salt(&self) -> u64;
}

/// An open file. Offsets are from its beginning.
#[expect(
    clippy::len_without_is_empty,
    reason = "the length of a file, which can fail; nobody asks whether it is empty"
)]
pub trait File: fmt::Debug + Send + Sync {
    /// Its length.
    ///
    /// # Errors
    /// The system's.
    fn len(&self) -> io::Result<u64>;

    /// Fills `bytes`.
    ///
    /// # Errors
    /// The system's; `UnexpectedEof` when the file ends before.
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()>;

    /// Writes all of `parts`, one after the other.
    ///
    /// # Errors
    /// The system's. Any of it may have been written then.
    fn write_at(&self, parts: &[&[u8]], offset: u64) -> io::Result<()>;

    /// Writes zeros up to this length, so that later writes change nothing but content.
    ///
    /// # Errors
    /// The system's.
    fn allocate(&self, length: u64) -> io::Result<()>;

    /// Makes the content durable, and of the rest what is needed to read it.
    ///
    /// # Errors
    /// The system's. What was written since the last one may be lost then, and a second call would
    /// not say so: nobody makes one.
    fn sync_data(&self) -> io::Result<()>;
}

/// A lock that is held.
pub trait Lock: fmt::Debug + Send + Sync {}

/// Why a lock was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has it.
    #[error("process {} holds the lock", pid.map_or_else(|| "unknown".to_owned(), |pid| pid.to_string()))]
    Held {
        /// Its number, when the file says.
        pid: Option<u32>,
    },
    /// The system does not let us.
    #[error("the lock file cannot be used")]
    Io(#[source] io::Error),
}

/// Makes a directory and what is missing above it, each durable in the one above.
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
                // Not one that we made, or we could not have.
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
