//! Makes the exporters that pipelines name, each once; each pipeline has its own queue to it.

use std::collections::BTreeMap;
use std::sync::Arc;

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
            let sender = match known.or_else(|| self.of_file(exporter)) {
                Some((_, sender)) => Arc::clone(sender),
                None => make(exporter)?,
            };
            made.insert(exporter.id.clone(), (Arc::clone(exporter), sender));
        }
        Ok(Self { made })
    }

    /// Who writes to the exporter's file already, under whatever name: it has the lock.
    fn of_file(&self, exporter: &Exporter) -> Option<&(Arc<Exporter>, Sender)> {
        let ExporterKind::File(wanted) = &exporter.kind else {
            return None;
        };
        let mut made = self.made.values();
        made.find(|(known, _)| matches!(&known.kind, ExporterKind::File(file) if file.path == wanted.path))
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
