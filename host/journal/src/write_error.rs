//! Errors of appends, made from those of the disk.

use std::io;

use spandrel_pipeline::journal::Unwritten;

use crate::vfs::is_full;

/// Returns the error that the sender of a batch gets.
pub(crate) fn from_io(error: io::Error) -> Unwritten {
    if is_full(&error) {
        Unwritten::Full { what: "the disk" }
    } else {
        Unwritten::Failed(error)
    }
}

/// Copies an error, for each sender of a group.
pub(crate) fn copy(error: &Unwritten) -> Unwritten {
    match error {
        Unwritten::Full { what } => Unwritten::Full { what },
        Unwritten::Failed(error) => Unwritten::Failed(copy_io(error)),
        Unwritten::Closed => Unwritten::Closed,
    }
}

/// Copies an error of the system, for each caller that waits for the same work.
pub(crate) fn copy_io(error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), error.to_string())
}
