//! The parts of a running collector that can change while it runs.

pub(crate) mod publish;

use std::collections::BTreeMap;
use std::sync::Arc;

use spandrel_config::id::Id;
use spandrel_config::service::DrainTiming;
use spandrel_config::{self as config, Config};
use spandrel_pipeline::pipeline::{ChangeError, Pipeline, PipelineConfig};
use spandrel_pipeline::stage::StageSpec;
use spandrel_plugin::Engine;
use tokio::time::Instant;
use tracing::info;

use crate::durable::{DurableParts, Durables};
use crate::exporters::Exporters;
use crate::memory::Limiters;
use crate::quarantine::Quarantine;
use crate::receivers::Receivers;
use crate::report::PipelineView;
use crate::retiring::RetiringPipelines;
use crate::stage::rollout::Stage;
use crate::stage::view::stage_view;
use crate::status::{PipelineStatus, Snapshot, Status};
use crate::time_text::millis;

/// The parts of a running collector that can change while it runs. One task owns it.
#[derive(Debug)]
pub(crate) struct CollectorState {
    pub(crate) config: Config,
    /// `None` while no pipeline has a stage.
    pub(crate) engine: Option<Engine>,
    pub(crate) stages: BTreeMap<Id, Stage>,
    /// The last generation number of each removed stage. If the stage comes back, it counts on from
    /// there.
    pub(crate) numbers: BTreeMap<Id, u64>,
    pub(crate) exporters: Exporters,
    /// The running pipelines, in the order of the configuration.
    pub(crate) pipelines: Vec<Pipeline>,
    /// The journals and quarantines of the running pipelines.
    pub(crate) durables: Durables,
    pub(crate) limiters: Limiters,
    pub(crate) serving: Receivers,
    /// Pipelines that a reload removed, until they are empty.
    pub(crate) retiring: RetiringPipelines,
    pub(crate) status: Arc<Status>,
    pub(crate) timing: DrainTiming,
}

impl CollectorState {
    /// Returns the configured pipelines, each with the one that runs.
    pub(crate) fn running(&self) -> impl Iterator<Item = (&config::service::Pipeline, &Pipeline)> {
        self.config.service.pipelines.iter().zip(&self.pipelines)
    }

    /// Returns the pipelines that contain a stage.
    pub(crate) fn with_stage<'a>(
        &'a self,
        id: &'a Id,
    ) -> impl Iterator<Item = (&'a config::service::Pipeline, &'a Pipeline)> {
        let stands = move |(config, _): &(&config::service::Pipeline, &Pipeline)| {
            config.stages.iter().any(|stage| stage.id == *id)
        };
        self.running().filter(stands)
    }

    /// Returns the stages that a pipeline should have now.
    pub(crate) fn specs(&self, config: &config::service::Pipeline) -> Vec<StageSpec> {
        specs(config, &self.stages)
    }

    /// Publishes the status: what runs now.
    pub(crate) fn show(&self) {
        let shards = self.config.shards();
        let pipelines = self.running().map(|(config, pipeline)| {
            let durable = self.durables.get(&config.id);
            PipelineStatus {
                view: view(config, shards),
                ledger: Arc::clone(pipeline.ledger()),
                queues: Arc::new(pipeline.queue_gauge()),
                journal: durable.map(|durable| Arc::clone(&durable.journal)),
                quarantine: durable.map(|durable| {
                    let store = Arc::clone(&durable.quarantine);
                    Quarantine::new(store, Arc::new(pipeline.ingress()), pipeline.retries())
                }),
            }
        });
        let stages = in_order(&self.config, &self.stages).map(stage_view);
        let plugins = self.stages.values();
        self.status.publish(Snapshot {
            receivers: self.serving.counters(),
            pipelines: pipelines.collect(),
            stages: stages.collect(),
            plugins: plugins
                .map(|stage| (stage.id.to_string(), Arc::clone(&stage.metrics)))
                .collect(),
            limiters: self.limiters.watched(),
        });
    }
}

fn specs(config: &config::service::Pipeline, stages: &BTreeMap<Id, Stage>) -> Vec<StageSpec> {
    let known = config
        .stages
        .iter()
        .filter_map(|stage| stages.get(&stage.id));
    known.map(Stage::spec).collect()
}

/// Returns the stages in the order in which the pipelines name them.
fn in_order<'a>(
    config: &Config,
    stages: &'a BTreeMap<Id, Stage>,
) -> impl Iterator<Item = &'a Stage> {
    let mut ids: Vec<&Id> = Vec::new();
    for pipeline in &config.service.pipelines {
        for stage in &pipeline.stages {
            if !ids.contains(&&stage.id) {
                ids.push(&stage.id);
            }
        }
    }
    ids.into_iter()
        .filter_map(|id| stages.get(id))
        .collect::<Vec<_>>()
        .into_iter()
}

fn view(config: &config::service::Pipeline, shards: usize) -> PipelineView {
    let receivers = config.receivers.iter();
    let exporters = config.exporters.iter();
    PipelineView {
        name: config.id.to_string(),
        signal: config.id.kind().to_owned(),
        receivers: receivers.map(|receiver| receiver.id.to_string()).collect(),
        stages: config
            .stages
            .iter()
            .map(|stage| stage.id.to_string())
            .collect(),
        exporters: exporters.map(|exporter| exporter.id.to_string()).collect(),
        shards: if config.stages.is_empty() { 0 } else { shards },
        ..PipelineView::default()
    }
}

/// Builds one pipeline.
pub(crate) async fn build_pipeline(
    config: &Config,
    pipeline: &config::service::Pipeline,
    exporters: &Exporters,
    stages: &BTreeMap<Id, Stage>,
    durables: &Durables,
) -> Result<Pipeline, ChangeError> {
    let started = Instant::now();
    let durable = durables.get(&pipeline.id);
    let built = Pipeline::build(PipelineConfig {
        name: pipeline.id.to_string(),
        signal: pipeline.signal,
        shards: config.shards(),
        stages: specs(pipeline, stages),
        exporters: exporters.specs(pipeline),
        ack_on: pipeline.ack_on,
        limits: spandrel_wire::Limits::default(),
        durability: durable.map(DurableParts::for_pipeline),
    });
    let built = built.await?;
    if let Some(durable) = durable {
        durable.warn_of_orphans(&pipeline.id);
    }
    info!(
        pipeline = %pipeline.id,
        stages = pipeline.stages.len(),
        exporters = pipeline.exporters.len(),
        elapsed_ms = millis(started),
        "pipeline built"
    );
    Ok(built)
}
