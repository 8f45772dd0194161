//! The running pipelines, each with its configuration.

use std::collections::BTreeMap;
use std::sync::Arc;

use spandrel_config::id::Id;
use spandrel_config::{self as config, Config};
use spandrel_pipeline::ledger::Ledger;
use spandrel_pipeline::pipeline::{ChangeError, Pipeline, PipelineConfig, StagesChange};
use spandrel_pipeline::stage::{Comparison, StateTransfer};
use tokio::time::Instant;
use tracing::{error, info};

use crate::difference::Difference;
use crate::durable::{DurableParts, Durables};
use crate::exporters::Exporters;
use crate::stage::load::ProbeInput;
use crate::stage::probation::Figures;
use crate::stage::table::Stages;
use crate::time_text::millis;

/// The running pipelines, and the configuration in force.
#[derive(Debug)]
pub(crate) struct Pipelines {
    config: Config,
    /// In the order of the configuration.
    running: Vec<Pipeline>,
}

impl Pipelines {
    /// Builds all pipelines of a configuration.
    pub(crate) async fn build(
        config: Config,
        exporters: &Exporters,
        stages: &Stages,
        durables: &Durables,
    ) -> Result<Self, ChangeError> {
        let mut running = Vec::with_capacity(config.service.pipelines.len());
        for pipeline in &config.service.pipelines {
            running.push(build(&config, pipeline, exporters, stages, durables).await?);
        }
        Ok(Self { config, running })
    }

    /// Returns the configuration in force.
    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    pub(crate) fn len(&self) -> usize {
        self.running.len()
    }

    /// Returns the pipelines with their configurations, in the order of the configuration.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&config::service::Pipeline, &Pipeline)> {
        self.config.service.pipelines.iter().zip(&self.running)
    }

    /// Returns the ledgers, which outlive the pipelines.
    pub(crate) fn ledgers(&self) -> Vec<Arc<Ledger>> {
        let running = self.running.iter();
        running
            .map(|pipeline| Arc::clone(pipeline.ledger()))
            .collect()
    }

    /// Returns the pipelines that name a receiver.
    pub(crate) fn with_receiver(&self, id: &Id) -> impl Iterator<Item = &Pipeline> {
        let named = self.iter().filter(move |(config, _)| {
            let mut receivers = config.receivers.iter();
            receivers.any(|receiver| receiver.id == *id)
        });
        named.map(|(_, pipeline)| pipeline)
    }

    /// Returns the pipelines that contain a stage.
    fn with_stage(&self, id: &Id) -> impl Iterator<Item = (&config::service::Pipeline, &Pipeline)> {
        self.iter()
            .filter(move |(config, _)| config.stages.iter().any(|stage| stage.id == *id))
    }

    fn get(&self, id: &Id) -> Option<&Pipeline> {
        let mut all = self.iter();
        all.find(|(config, _)| config.id == *id)
            .map(|(_, pipeline)| pipeline)
    }

    /// Returns what a generation of a stage did, in all pipelines.
    pub(crate) fn figures(&self, stage: &Id, number: u64) -> Figures {
        let mut sum = Figures::default();
        for (_, pipeline) in self.with_stage(stage) {
            let books = pipeline.ledger().books();
            let mut columns = books.stages.iter();
            let column = columns.find(|column| column.name == stage.as_str());
            if let Some(figures) = column.and_then(|column| column.generation(number)) {
                sum += Figures::from(figures);
            }
        }
        sum
    }

    /// Returns the input that a candidate of a stage is probed with.
    pub(crate) async fn probe_input(&self, stage: &Id) -> ProbeInput {
        let Some((_, pipeline)) = self.with_stage(stage).next() else {
            return ProbeInput::default();
        };
        ProbeInput {
            state: pipeline.snapshot(stage.as_str()).await,
            sample: pipeline.sample(stage.as_str()).await,
        }
    }

    /// Returns how the shadow of a stage differs from the running generation, in all pipelines.
    pub(crate) async fn comparison(&self, stage: &Id) -> Comparison {
        let mut sum = Comparison::default();
        for (_, pipeline) in self.with_stage(stage) {
            if let Some(seen) = pipeline.comparison(stage.as_str()).await {
                sum.join(seen);
            }
        }
        sum
    }

    /// Makes the pipelines that contain a stage run what `stages` says. `changed` lists the ones
    /// that were changed, even after a failure.
    pub(crate) async fn change_stage(
        &self,
        id: &Id,
        stages: &Stages,
        changed: &mut Vec<Id>,
    ) -> Result<StagesChange, ChangeError> {
        change(self.with_stage(id).collect(), stages, changed).await
    }

    /// Changes the stages of the pipelines that go on under another configuration. `changed` lists
    /// the ones that were changed, even after a failure. Pipelines that lose a stage come last,
    /// because a removed stage does not come back.
    pub(crate) async fn restage(
        &self,
        config: &Config,
        difference: &Difference,
        stages: &Stages,
        changed: &mut Vec<Id>,
    ) -> Result<StagesChange, ChangeError> {
        let named = config.service.pipelines.iter();
        let restaged = named.filter(|pipeline| difference.restages(&pipeline.id));
        let with_running =
            restaged.filter_map(|pipeline| Some((pipeline, self.get(&pipeline.id)?)));
        let mut all: Vec<_> = with_running.collect();
        all.sort_by_key(|(pipeline, _)| difference.removes(&pipeline.id));
        change(all, stages, changed).await
    }

    /// Changes the stages of these pipelines back to what `stages` says.
    pub(crate) async fn change_back(&self, pipelines: &[Id], stages: &Stages) {
        for (config, pipeline) in self.iter() {
            if pipelines.contains(&config.id)
                && let Err(error) = pipeline.change(stages.specs(config)).await
            {
                error!(
                    pipeline = %config.id,
                    error = &error as &dyn std::error::Error,
                    "a pipeline could not be changed back"
                );
            }
        }
    }

    /// Builds the pipelines that are new in another configuration, and prepares the others for
    /// their new exporters. The result is in the order of that configuration, and has `None` where
    /// the running pipeline goes on.
    pub(crate) async fn build_new(
        &self,
        config: &Config,
        difference: &Difference,
        exporters: &Exporters,
        stages: &Stages,
        durables: &Durables,
    ) -> Result<Vec<Option<Pipeline>>, ChangeError> {
        let mut built = Vec::new();
        for pipeline in &config.service.pipelines {
            if !difference.stays(&pipeline.id) {
                let new = build(config, pipeline, exporters, stages, durables).await?;
                built.push(Some(new));
                continue;
            }
            if difference.reroutes(&pipeline.id)
                && let Some(running) = self.get(&pipeline.id)
            {
                let exporters = pipeline.exporters.iter();
                let names = exporters.map(|exporter| exporter.id.to_string());
                running.prepare_exporters(names.collect()).await?;
            }
            built.push(None);
        }
        Ok(built)
    }

    /// Puts another configuration into force, with the pipelines that [`Self::build_new`] returned
    /// for it. Returns the pipelines that it does not have.
    pub(crate) fn replace(
        &mut self,
        config: Config,
        built: Vec<Option<Pipeline>>,
        difference: &Difference,
        exporters: &Exporters,
    ) -> BTreeMap<Id, Pipeline> {
        let named = self.config.service.pipelines.iter();
        let ids = named.map(|pipeline| pipeline.id.clone());
        let mut old: BTreeMap<Id, Pipeline> = ids.zip(std::mem::take(&mut self.running)).collect();
        for (pipeline, built) in config.service.pipelines.iter().zip(built) {
            let Some(running) = built.or_else(|| old.remove(&pipeline.id)) else {
                continue;
            };
            if difference.reroutes(&pipeline.id) {
                running.set_exporters(exporters.specs(pipeline));
            }
            self.running.push(running);
        }
        self.config = config;
        old
    }

    /// Returns the pipelines, to be drained.
    pub(crate) fn into_running(self) -> Vec<Pipeline> {
        self.running
    }
}

async fn build(
    config: &Config,
    pipeline: &config::service::Pipeline,
    exporters: &Exporters,
    stages: &Stages,
    durables: &Durables,
) -> Result<Pipeline, ChangeError> {
    let started = Instant::now();
    let durable = durables.get(&pipeline.id);
    let built = Pipeline::build(PipelineConfig {
        name: pipeline.id.to_string(),
        signal: pipeline.signal,
        shards: config.shards(),
        stages: stages.specs(pipeline),
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

/// Changes the stages of pipelines, one after the other.
async fn change(
    pipelines: Vec<(&config::service::Pipeline, &Pipeline)>,
    stages: &Stages,
    changed: &mut Vec<Id>,
) -> Result<StagesChange, ChangeError> {
    let mut sum = StagesChange::default();
    for (config, pipeline) in pipelines {
        add(&mut sum, pipeline.change(stages.specs(config)).await?);
        changed.push(config.id.clone());
    }
    Ok(sum)
}

/// Adds up the changes in several pipelines. Of the fates of a state, the worst is kept.
fn add(sum: &mut StagesChange, other: StagesChange) {
    sum.pause = sum.pause.max(other.pause);
    for (stage, carried) in other.carried {
        let known = sum.carried.entry(stage).or_insert_with(|| carried.clone());
        if !matches!(known, StateTransfer::Failed(_)) && carried != StateTransfer::NoState {
            *known = carried;
        }
    }
}
