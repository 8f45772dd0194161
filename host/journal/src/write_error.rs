//! Errors of appends, made from those of the disk.

use std::io;

use spandrel_pipeline::journal::AppendError;

use crate::vfs::is_full;

/// Returns the error that the sender of a batch gets.
pub(crate) fn from_io(error: io::Error) -> AppendError {
    if is_full(&error) {
        AppendError::Full { what: "the disk" }
    } else {
        AppendError::Failed(error)
    }
}

/// Copies an error, for each sender of a group.
pub(crate) fn copy(error: &AppendError) -> AppendError {
    match error {
        AppendError::Full { what } => AppendError::Full { what },
        AppendError::Failed(error) => AppendError::Failed(copy_io(error)),
        AppendError::Closed => AppendError::Closed,
    }
}

/// Copies an error of the system, for each caller that waits for the same work.
pub(crate) fn copy_io(error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), error.to_string())
}
