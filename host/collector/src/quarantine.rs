//! Quarantine: the place for batches that failed every time, beside the journal of their pipeline.
//! Each batch is one file: OTLP/JSON, with one more member that tells what happened to it.

pub mod entry;
pub mod folder;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use spandrel_pipeline::ingress::Ingress;
use spandrel_pipeline::journal::{Poison, PoisonStore};
use spandrel_pipeline::pipeline::Retries;

use self::folder::Folder;

/// The quarantine of one pipeline, and the ways from it back into the pipeline.
#[derive(Clone, Debug)]
pub struct Quarantine {
    pub(crate) store: Arc<QuarantineStore>,
    pub(crate) admission: Arc<dyn Ingress>,
    /// The failed batches that are not in the store.
    pub(crate) retries: Option<Retries>,
}

impl Quarantine {
    /// Makes the quarantine of a pipeline. Replayed batches enter it through `admission`; `retries`
    /// are the failed batches that are not in the store.
    pub fn new(
        store: Arc<QuarantineStore>,
        admission: Arc<dyn Ingress>,
        retries: Option<Retries>,
    ) -> Self {
        Self {
            store,
            admission,
            retries,
        }
    }

    /// Returns the number of batches that were put there since the start.
    pub fn put_so_far(&self) -> u64 {
        self.store.put_so_far()
    }
}

/// The store of one pipeline.
#[derive(Debug)]
pub struct QuarantineStore {
    folder: Arc<Folder>,
    /// Puts are serialized, because each checks the limits of the folder first.
    putting: Arc<Mutex<()>>,
    put: Arc<AtomicU64>,
}

impl QuarantineStore {
    /// Opens the store in this folder, and makes the folder if need be. Reads and writes files.
    ///
    /// # Errors
    /// The folder cannot be made or read.
    pub fn open(dir: &Path) -> io::Result<Self> {
        Ok(Self {
            folder: Arc::new(Folder::make(dir)?),
            putting: Arc::default(),
            put: Arc::default(),
        })
    }

    pub(crate) fn folder(&self) -> &Arc<Folder> {
        &self.folder
    }

    /// Returns the number of batches that were put there since the start.
    pub(crate) fn put_so_far(&self) -> u64 {
        self.put.load(Ordering::Relaxed)
    }
}

impl PoisonStore for QuarantineStore {
    fn put(&self, poison: Poison) -> BoxFuture<'static, io::Result<()>> {
        let (folder, putting) = (Arc::clone(&self.folder), Arc::clone(&self.putting));
        let put = Arc::clone(&self.put);
        let write = move || {
            let _one = putting.lock();
            let id = folder.put(&poison)?;
            put.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(
                pipeline = %poison.pipeline,
                batch = %id,
                items = poison.items,
                attempt = poison.attempts,
                reason = %poison.reason,
                "batch is in quarantine: see `spandrel quarantine show`"
            );
            Ok(())
        };
        Box::pin(async move {
            let written = tokio::task::spawn_blocking(write).await;
            written.unwrap_or_else(|error| Err(io::Error::other(error)))
        })
    }
}
