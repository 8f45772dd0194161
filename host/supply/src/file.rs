//! Reads files of an operator: regular files only, within a limit.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

/// The reason why a file was not read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The system reported an error.
    #[error(transparent)]
    Io(#[from] io::Error),
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
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a file").into());
    }
    read_open(File::open(path)?, limit_bytes)
}

/// Reads the bytes of an open file, at most `limit_bytes`.
pub(crate) fn read_open(file: File, limit_bytes: u64) -> Result<Vec<u8>, ReadError> {
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

#[cfg(test)]
mod tests {
    use super::*;

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
