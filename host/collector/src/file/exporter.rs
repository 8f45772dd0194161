//! The `file` exporter.

mod backups;
mod output;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use spandrel_config::exporter::file::{FileExporter as Settings, Rotation};
use spandrel_pipeline::exporter::{Exporter, Outcome, Refuses};
use spandrel_wire::Signal;

use self::output::Output;
use crate::file::json;

/// Appends one line for each batch. A line is written as a whole or not at all.
#[derive(Debug)]
pub(crate) struct FileExporter {
    path: PathBuf,
    /// Locked while a line is written, which may take as long as the disk needs.
    output: Arc<Mutex<Output>>,
    rotation: Arc<Mutex<Option<Rotation>>>,
}

impl FileExporter {
    /// Opens the file and locks it, so that no two collectors write into one.
    ///
    /// # Errors
    /// The file cannot be opened, or another process writes to it.
    pub(crate) fn open(settings: &Settings) -> io::Result<Self> {
        let mut output = Output::open(&settings.path)?;
        match &settings.rotation {
            Some(rotation) => output.clean_up(rotation),
            None if settings.append => {}
            None => output.empty()?,
        }
        Ok(Self {
            path: settings.path.clone(),
            output: Arc::new(Mutex::new(output)),
            rotation: Arc::new(Mutex::new(settings.rotation.clone())),
        })
    }

    /// Returns the path of the file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Rotates by these settings from now on.
    pub(crate) fn rotate_by(&self, rotation: Option<Rotation>) {
        *self.rotation.lock() = rotation;
    }
}

impl Exporter for FileExporter {
    fn export(&self, signal: Signal, batch: Bytes) -> BoxFuture<'_, Outcome> {
        let output = Arc::clone(&self.output);
        let rotation = Arc::clone(&self.rotation);
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
            let mut output = output.lock();
            let rotation = rotation.lock().clone();
            match output.write(&line, rotation.as_ref()) {
                Ok(()) => Outcome::Sent,
                // The disk is full, for example, and may have room again.
                Err(error) => Outcome::Retry {
                    after: None,
                    error: format!("cannot write to {}: {error}", output.path().display()),
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
        self.run(Output::sync)
    }

    fn reopen(&self) -> BoxFuture<'_, Result<(), String>> {
        self.run(Output::follow)
    }
}

impl FileExporter {
    fn run(
        &self,
        work: impl FnOnce(&mut Output) -> io::Result<()> + Send + 'static,
    ) -> BoxFuture<'_, Result<(), String>> {
        let output = Arc::clone(&self.output);
        Box::pin(async move {
            match tokio::task::spawn_blocking(move || work(&mut output.lock())).await {
                Ok(done) => done.map_err(|error| error.to_string()),
                Err(error) => Err(error.to_string()),
            }
        })
    }
}
