//! The `file` exporter.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use spandrel_pipeline::exporter::{Exporter, Outcome, Refuses};
use spandrel_wire::Signal;

use super::json;

/// Appends one line for each batch. A line is there as a whole or not at all.
#[derive(Debug)]
pub(crate) struct FileExporter {
    file: Arc<Mutex<File>>,
}

impl FileExporter {
    /// Opens the file and locks it, so that no two collectors write into one.
    pub(crate) fn open(path: &Path, append: bool) -> io::Result<Self> {
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)?;
        file.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => io::Error::other(
                "another process writes to it; stop that one or choose another path",
            ),
            TryLockError::Error(error) => error,
        })?;
        if append {
            file.seek(SeekFrom::End(0))?;
        } else if file.metadata()?.is_file() {
            file.set_len(0)?;
        }
        let file = Arc::new(Mutex::new(file));
        Ok(Self { file })
    }
}

impl Exporter for FileExporter {
    fn export(&self, signal: Signal, batch: Bytes) -> BoxFuture<'_, Outcome> {
        let file = Arc::clone(&self.file);
        let write = move || {
            let line = match json::to_line(signal, &batch) {
                Ok(line) => line,
                Err(error) => {
                    return Outcome::Permanent {
                        refuses: Refuses::Batch,
                        error: error.to_string(),
                    };
                }
            };
            let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
            match append(&mut file, &line) {
                Ok(()) => Outcome::Sent,
                // The disk is full, for example: room may come.
                Err(error) => Outcome::Retry {
                    after: None,
                    error: format!("cannot write: {error}"),
                },
            }
        };
        Box::pin(async move {
            let written = tokio::task::spawn_blocking(write).await;
            written.unwrap_or_else(|error| Outcome::Permanent {
                refuses: Refuses::Batch,
                error: error.to_string(),
            })
        })
    }

    fn flush(&self) -> BoxFuture<'_, Result<(), String>> {
        let file = Arc::clone(&self.file);
        let sync = move || {
            file.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .sync_all()
        };
        Box::pin(async move {
            match tokio::task::spawn_blocking(sync).await {
                Ok(Ok(())) => Ok(()),
                // A pipe or a terminal has nothing to sync.
                Ok(Err(error)) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
                Ok(Err(error)) => Err(error.to_string()),
                Err(error) => Err(error.to_string()),
            }
        })
    }
}

/// Writes the line, or takes back what was written of it.
fn append(file: &mut File, line: &[u8]) -> io::Result<()> {
    let is_file = file.metadata()?.is_file();
    let before = if is_file {
        Some(file.stream_position()?)
    } else {
        None
    };
    let written = file.write_all(line);
    if let (Err(_), Some(before)) = (&written, before) {
        file.set_len(before)?;
        file.seek(SeekFrom::Start(before))?;
    }
    written
}
