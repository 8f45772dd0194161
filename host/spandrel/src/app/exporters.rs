//! Makes the exporters that pipelines name, each once; each pipeline has its own queue to it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Weak};

use spandrel_otlp::exporter::{ExporterError, GrpcExporter};
use spandrel_pipeline::egress::ExporterSpec;

use super::{StartError, problem};
use crate::config::Config;
use crate::config::exporter::{Exporter, ExporterKind, OtlpExporter};
use crate::config::id::Id;
use crate::config::problem::Problem;
use crate::config::service::Pipeline;
use crate::debug::Debug;
use crate::file::exporter::FileExporter;

/// What sends.
type Sender = Arc<dyn spandrel_pipeline::exporter::Exporter>;

/// The exporters, by id.
#[derive(Clone, Debug, Default)]
pub(crate) struct Exporters {
    made: BTreeMap<Id, (Arc<Exporter>, Sender)>,
    /// Files of exporters that are gone, while what they had in their queues is written: should one
    /// come back, its lock is still taken.
    leaving: Vec<(PathBuf, Weak<dyn spandrel_pipeline::exporter::Exporter>)>,
}

impl Exporters {
    pub(super) fn make(config: &Config) -> Result<Self, StartError> {
        Self::default().changed(config)
    }

    /// The exporters of another configuration. Those whose settings are the same are the same, with
    /// their connections.
    pub(crate) fn changed(&self, config: &Config) -> Result<Self, StartError> {
        let mut made = BTreeMap::new();
        for exporter in config.exporters() {
            let known = self.made.get(&exporter.id);
            let known = known.filter(|(settings, _)| settings.kind == exporter.kind);
            let known = known.map(|(_, sender)| Arc::clone(sender));
            let sender = match known.or_else(|| self.of_file(exporter)) {
                Some(sender) => sender,
                None => make(exporter)?,
            };
            made.insert(exporter.id.clone(), (Arc::clone(exporter), sender));
        }
        let mut leaving = self.leaving.clone();
        leaving.retain(|(_, sender)| sender.strong_count() > 0);
        for (exporter, sender) in self.made.values() {
            let weak = Arc::downgrade(sender);
            if let ExporterKind::File(file) = &exporter.kind
                && !leaving.iter().any(|(_, known)| known.ptr_eq(&weak))
            {
                leaving.push((file.path.clone(), weak));
            }
        }
        Ok(Self { made, leaving })
    }

    /// Who writes to the exporter's file already, under whatever name: it has the lock.
    fn of_file(&self, exporter: &Exporter) -> Option<Sender> {
        let ExporterKind::File(wanted) = &exporter.kind else {
            return None;
        };
        let mut made = self.made.values();
        let made = made.find_map(|(known, sender)| match &known.kind {
            ExporterKind::File(file) if file.path == wanted.path => Some(Arc::clone(sender)),
            _ => None,
        });
        let mut leaving = self.leaving.iter().filter(|(path, _)| *path == wanted.path);
        made.or_else(|| leaving.find_map(|(_, sender)| sender.upgrade()))
    }

    /// What one pipeline needs of its exporters.
    pub(crate) fn specs(&self, pipeline: &Pipeline) -> Vec<ExporterSpec> {
        let spec = |exporter: &Arc<Exporter>| {
            Some(ExporterSpec {
                name: exporter.id.to_string(),
                exporter: Arc::clone(&self.made.get(&exporter.id)?.1),
                queue: exporter.queue.clone(),
                // The exporter's own batching is the more exact wish.
                batcher: exporter.batch.clone().or_else(|| pipeline.batch.clone()),
                retry: exporter.retry.clone(),
            })
        };
        pipeline.exporters.iter().filter_map(spec).collect()
    }
}

fn make(exporter: &Exporter) -> Result<Sender, StartError> {
    let id = || exporter.id.to_string();
    match &exporter.kind {
        ExporterKind::OtlpGrpc(settings) => {
            let sender =
                grpc(settings).map_err(|source| StartError::Exporter { id: id(), source })?;
            Ok(Arc::new(sender))
        }
        ExporterKind::Debug(verbosity) => Ok(Arc::new(Debug::new(*verbosity))),
        ExporterKind::File(settings) => {
            let opened = FileExporter::open(&settings.path, settings.append);
            let sender = opened.map_err(|source| StartError::File {
                id: id(),
                path: settings.path.clone(),
                source,
            })?;
            Ok(Arc::new(sender))
        }
    }
}

fn grpc(settings: &OtlpExporter) -> Result<GrpcExporter, ExporterError> {
    GrpcExporter::new(&settings.0)
}

/// What is wrong with the exporters, without opening (and so emptying) any file.
pub(super) fn check(config: &Config) -> Vec<Problem> {
    let check = |exporter: &Arc<Exporter>| match &exporter.kind {
        ExporterKind::OtlpGrpc(settings) => {
            let error = grpc(settings).err()?;
            Some(problem(format!("exporters::{}", exporter.id), &error))
        }
        ExporterKind::Debug(_) | ExporterKind::File(_) => None,
    };
    config.exporters().into_iter().filter_map(check).collect()
}
