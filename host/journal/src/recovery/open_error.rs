//! The reasons why a journal is not opened.

use std::io;
use std::path::PathBuf;

/// The reason why a journal was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process uses it: two that write the same files would ruin them.
    #[error("the journal in {} is in use by process {}", path.display(), pid.map_or_else(|| "unknown".to_owned(), |pid| pid.to_string()))]
    Locked {
        /// The directory.
        path: PathBuf,
        /// The other process, if it wrote down its number.
        pid: Option<u32>,
    },
    /// It is damaged, and [`Options::strict`](crate::Options::strict) refuses that.
    #[error("the journal in {} is damaged: {lost} records are lost, {headers} headers are unreadable", path.display())]
    Damaged {
        /// The directory of the log.
        path: PathBuf,
        /// Acknowledged records that are lost.
        lost: u64,
        /// Headers of segments and checkpoints that cannot be read.
        headers: u64,
    },
    /// A later release wrote it.
    #[error("{} has layout {version}, which this release does not know", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// The version of its layout.
        version: u32,
    },
    /// A system call failed.
    #[error("cannot {what} {}", path.display())]
    Io {
        /// The action that failed.
        what: &'static str,
        /// The path of the action.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
}
