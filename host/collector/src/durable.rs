//! The parts that make a pipeline durable: its journal and its quarantine, in a folder that belongs
//! to one process.

mod journal_closing;

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use spandrel_config::Config;
use spandrel_config::durability::SyncMode;
use spandrel_config::id::Id;
use spandrel_config::problem::Problem;
use spandrel_config::service::{Pipeline, Service};
use spandrel_journal::{Options, Store};
use spandrel_pipeline::journal::{Durability, Journal as _};
use tokio::time::Instant;
use tracing::{error, info, warn};

pub(crate) use self::journal_closing::JournalClosing;
use crate::problems::problem;
use crate::quarantine::{QuarantineStore, folder};
use crate::start_error::StartError;
use crate::time_text::millis;

/// The open journal and quarantine of one pipeline.
#[derive(Clone, Debug)]
pub(crate) struct DurableParts {
    pub(crate) journal: Arc<Store>,
    pub(crate) quarantine: Arc<QuarantineStore>,
}

/// The journals and quarantines of all durable pipelines.
pub(crate) type Durables = BTreeMap<Id, DurableParts>;

/// Opens the journals and quarantines of all pipelines of a configuration.
pub(crate) async fn open_all(config: &Config) -> Result<Durables, StartError> {
    let mut all = Durables::new();
    for pipeline in &config.service.pipelines {
        if let Some(durable) = open(pipeline).await? {
            all.insert(pipeline.id.clone(), durable);
        }
    }
    Ok(all)
}

/// Opens the journal and quarantine of one pipeline. `None` if the pipeline is not durable.
pub(crate) async fn open(pipeline: &Pipeline) -> Result<Option<DurableParts>, StartError> {
    let Some(settings) = &pipeline.durability else {
        return Ok(None);
    };
    let options = Options {
        sync: match settings.sync {
            SyncMode::Group => spandrel_journal::Sync::Group,
            SyncMode::Interval(interval) => spandrel_journal::Sync::Interval(interval),
            SyncMode::None => spandrel_journal::Sync::None,
        },
        max_bytes: settings.max_bytes,
        max_age: settings.max_age,
        strict: settings.strict,
        ..Options::new(settings.dir.clone())
    };
    let id = pipeline.id.to_string();
    let quarantine_dir = settings.dir.join(folder::NAME);
    let opening = move || {
        let (journal, recovered) = Store::open(options).map_err(|source| StartError::Journal {
            pipeline: id.clone(),
            source: Box::new(source),
        })?;
        let quarantine =
            QuarantineStore::open(&quarantine_dir).map_err(|source| StartError::File {
                id: id.clone(),
                path: quarantine_dir,
                source,
            })?;
        if recovered.lost() > 0 {
            warn!(
                pipeline = %id,
                records = recovered.lost(),
                "records of the journal are damaged: accepted items are lost"
            );
        }
        let quarantine = Arc::new(quarantine);
        Ok(Some(DurableParts {
            journal,
            quarantine,
        }))
    };
    let opened = tokio::task::spawn_blocking(opening).await;
    opened.unwrap_or_else(|error| {
        Err(StartError::File {
            id: pipeline.id.to_string(),
            path: settings.dir.clone(),
            source: io::Error::other(error),
        })
    })
}

impl DurableParts {
    /// Returns the parts that the pipeline needs.
    pub(crate) fn for_pipeline(&self) -> Durability {
        Durability {
            journal: Arc::clone(&self.journal) as _,
            quarantine: Arc::clone(&self.quarantine) as _,
        }
    }

    /// Warns about exporters that were removed from the configuration while batches waited for
    /// them.
    pub(crate) fn warn_of_orphans(&self, pipeline: &Id) {
        for (exporter, items) in self.journal.orphans() {
            warn!(
                %pipeline,
                exporter,
                items,
                "batches on disk wait for an exporter that the pipeline does not have; bring it back, or remove its folder below `egress`"
            );
        }
    }

    /// Closes the journal so that the next process knows that all is well. Unfinished batches stay
    /// in it. Returns false if that was not done by the deadline: a disk that hangs is not waited
    /// for.
    pub(crate) async fn close(self, pipeline: String, deadline: Instant) -> bool {
        let started = Instant::now();
        let limit = deadline.max(started + CLOSE).duration_since(started);
        let Self { journal, .. } = self;
        let closing = move || {
            let items = journal.ingress().fill().items;
            (items, journal.close_within(limit))
        };
        match tokio::task::spawn_blocking(closing).await {
            Ok((items, Ok(()))) => info!(
                pipeline,
                items,
                elapsed_ms = millis(started),
                "journal closed"
            ),
            Ok((items, Err(error))) if error.kind() == io::ErrorKind::TimedOut => {
                error!(
                    pipeline,
                    items,
                    %error,
                    elapsed_ms = millis(started),
                    "journal not closed in time: pending writes are not on the disk, and the next start reads the whole journal"
                );
                return false;
            }
            Ok((items, Err(error))) => warn!(
                pipeline,
                items,
                %error,
                "journal not closed cleanly: the next start reads the whole journal"
            ),
            Err(error) => warn!(pipeline, %error, "journal not closed"),
        }
        true
    }
}

/// The time a journal always gets for closing, even after the deadline. A disk that works needs
/// less.
const CLOSE: Duration = Duration::from_secs(1);

/// Checks if the folders can be made and written, without making or locking any.
pub(crate) fn check(service: &Service) -> Vec<Problem> {
    let pipelines = service.pipelines.iter();
    let check = |pipeline: &Pipeline| {
        let dir = &pipeline.durability.as_ref()?.dir;
        let (at, source) = can_write(dir).err()?;
        let path = format!("service::pipelines::{}::durability::dir", pipeline.id);
        let what = format!("{} cannot be written: {source}", at.display());
        Some(problem(path, &io::Error::other(what)))
    };
    pipelines.filter_map(check).collect()
}

/// Writes a file into the folder, or into its closest existing parent, and removes it.
fn can_write(dir: &Path) -> Result<(), (PathBuf, io::Error)> {
    let dir = std::path::absolute(dir).map_err(|error| (dir.to_owned(), error))?;
    let mut there = dir.ancestors().filter(|around| around.exists());
    let there = there.next().unwrap_or(&dir);
    let probe = there.join(format!(".spandrel-validate-{}", std::process::id()));
    let written = OpenOptions::new().write(true).create_new(true).open(&probe);
    written
        .and_then(|_| fs::remove_file(&probe))
        .map_err(|error| (there.to_owned(), error))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The check finds out if a folder is writable, and leaves nothing behind.
    #[test]
    fn a_look_leaves_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        can_write(&folder.path().join("a/b/c")).expect("it can be made");
        assert_eq!(fs::read_dir(folder.path()).expect("there").count(), 0);
        let file = folder.path().join("file");
        fs::write(&file, "").expect("written");
        let (at, _) = can_write(&file.join("a")).expect_err("a file is in the way");
        assert_eq!(at, file);
    }
}
