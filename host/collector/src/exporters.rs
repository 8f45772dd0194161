//! Makes the exporters that pipelines name, each once. Each pipeline has its own queue to it.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io;
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Duration;

use spandrel_config::Config;
use spandrel_config::exporter::{Exporter, ExporterKind, OtlpExporter};
use spandrel_config::id::Id;
use spandrel_config::problem::Problem;
use spandrel_config::service::Pipeline;
use spandrel_otlp::exporter::{ExporterError, GrpcExporter};
use spandrel_pipeline::egress::ExporterSpec;

use crate::debug::Debug;
use crate::file::exporter::FileExporter;
use crate::problems::problem;
use crate::start_error::StartError;

/// The time that an exporter gets to check its file.
const REOPEN: Duration = Duration::from_secs(1);

/// A shared exporter that sends for every pipeline that names it.
type Sender = Arc<dyn spandrel_pipeline::exporter::Exporter>;

/// The exporters, by id.
#[derive(Clone, Debug, Default)]
pub(crate) struct Exporters {
    made: BTreeMap<Id, (Arc<Exporter>, Sender)>,
    /// The file exporters, including removed ones that still write what is in their queues. If one
    /// of those comes back, its lock is still taken.
    files: Vec<Weak<FileExporter>>,
}

impl Exporters {
    pub(crate) fn make(config: &Config) -> Result<Self, StartError> {
        Self::default().changed(config)
    }

    /// Returns the exporters of another configuration. An exporter whose settings did not change is
    /// kept, with its connections.
    pub(crate) fn changed(&self, config: &Config) -> Result<Self, StartError> {
        let mut made = BTreeMap::new();
        let mut files = self.files.clone();
        files.retain(|file| file.strong_count() > 0);
        for exporter in config.exporters() {
            let known = self.made.get(&exporter.id);
            let known = known.filter(|(settings, _)| settings.kind == exporter.kind);
            let sender = match known {
                Some((_, sender)) => Arc::clone(sender),
                None => make(exporter, &mut files)?,
            };
            made.insert(exporter.id.clone(), (Arc::clone(exporter), sender));
        }
        Ok(Self { made, files })
    }

    /// Puts these exporters in force: files rotate by their settings from now on.
    pub(crate) fn take_over(&self) {
        let files: Vec<_> = self.files.iter().filter_map(Weak::upgrade).collect();
        for (exporter, _) in self.made.values() {
            if let ExporterKind::File(settings) = &exporter.kind {
                let file = files.iter().find(|file| file.path() == settings.path);
                file.inspect(|file| file.rotate_by(settings.rotation.clone()));
            }
        }
    }

    /// Reopens the files, because an operator may have moved them away.
    pub(crate) async fn reopen(&self) {
        for (exporter, sender) in self.made.values() {
            // Do not wait for a disk that hangs: each write checks the file, too.
            let reopened = tokio::time::timeout(REOPEN, sender.reopen()).await;
            if let Ok(Err(error)) = reopened {
                tracing::error!(
                    exporter = %exporter.id, error,
                    "exporter could not open its file again"
                );
            }
        }
    }

    /// Returns what one pipeline needs of its exporters.
    pub(crate) fn specs(&self, pipeline: &Pipeline) -> Vec<ExporterSpec> {
        let spec = |exporter: &Arc<Exporter>| {
            Some(ExporterSpec {
                name: exporter.id.to_string(),
                exporter: Arc::clone(&self.made.get(&exporter.id)?.1),
                queue: exporter.queue.clone(),
                // The exporter's own batching is more specific than the pipeline's, so it wins.
                batcher: exporter.batch.clone().or_else(|| pipeline.batch.clone()),
                retry: exporter.retry.clone(),
            })
        };
        pipeline.exporters.iter().filter_map(spec).collect()
    }
}

fn make(exporter: &Exporter, files: &mut Vec<Weak<FileExporter>>) -> Result<Sender, StartError> {
    let id = || exporter.id.to_string();
    match &exporter.kind {
        ExporterKind::OtlpGrpc(settings) => {
            let sender =
                grpc(settings).map_err(|source| StartError::Exporter { id: id(), source })?;
            Ok(Arc::new(sender))
        }
        ExporterKind::Debug(verbosity) => Ok(Arc::new(Debug::new(*verbosity))),
        ExporterKind::File(settings) => {
            // An exporter that already writes to this file, under whatever name, has the lock.
            let mut known = files.iter().filter_map(Weak::upgrade);
            if let Some(known) = known.find(|file| file.path() == settings.path) {
                return Ok(known);
            }
            let opened = FileExporter::open(settings);
            let sender = Arc::new(opened.map_err(|source| StartError::File {
                id: id(),
                path: settings.path.clone(),
                source,
            })?);
            files.push(Arc::downgrade(&sender));
            Ok(sender)
        }
    }
}

fn grpc(settings: &OtlpExporter) -> Result<GrpcExporter, ExporterError> {
    GrpcExporter::new(&settings.0)
}

/// Checks if a file can be written or made. Its content stays as it is.
fn can_be_written(path: &Path) -> io::Result<()> {
    match fs::metadata(path) {
        Ok(known) if known.is_file() => OpenOptions::new().append(true).open(path).map(drop),
        // Opening a pipe would wait for its reader.
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let folder = std::path::absolute(path)?;
            match folder.parent().unwrap_or(Path::new("/")).is_dir() {
                true => Ok(()),
                false => Err(io::Error::new(error.kind(), "there is no such folder")),
            }
        }
        Err(error) => Err(error),
    }
}

/// Returns the problems of the exporters, without opening (and so emptying) any file.
pub(crate) fn check(exporters: &[Arc<Exporter>]) -> Vec<Problem> {
    let check = |exporter: &Arc<Exporter>| match &exporter.kind {
        ExporterKind::OtlpGrpc(settings) => {
            let error = grpc(settings).err()?;
            Some(problem(format!("exporters::{}", exporter.id), &error))
        }
        ExporterKind::File(settings) => {
            let error = can_be_written(&settings.path).err()?;
            let path = format!("exporters::{}::path", exporter.id);
            let what = format!("cannot write {}: {error}", settings.path.display());
            Some(Problem::nowhere(path, what))
        }
        ExporterKind::Debug(_) => None,
    };
    exporters.iter().filter_map(check).collect()
}
