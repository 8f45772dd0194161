//! The parts of a reload: everything new is made first, then the stages change, and the rest is
//! done as a whole.

use std::collections::BTreeMap;
use std::sync::Arc;

use spandrel_config::Config;
use spandrel_config::id::Id;
use spandrel_config::processor::Wasm;
use spandrel_pipeline::pipeline::{Pipeline, StagesChange};

use crate::controller::reload::difference::Difference;
use crate::durable;
use crate::durable::Durables;
use crate::error_chain::in_one_line;
use crate::exporters::Exporters;
use crate::memory::Limiters;
use crate::receivers::BoundReceiver;
use crate::refusal::Refusal;
use crate::stage::rollout::Rollout;
use crate::state::publish::add;
use crate::state::{CollectorState, build_pipeline};

/// Everything that is made before anything is changed.
pub(crate) struct NewParts {
    exporters: Exporters,
    receivers: Vec<BoundReceiver>,
    /// In the order of the new configuration; `None` where the running pipeline goes on.
    pipelines: Vec<Option<Pipeline>>,
    /// The journals and shelves of the new pipelines.
    durables: Durables,
}

impl CollectorState {
    /// Makes everything that is new, then changes the stages of the pipelines that stay, which is
    /// the last step that can fail.
    pub(crate) async fn prepare(
        &self,
        config: &Config,
        difference: &Difference,
        restaged: &mut Vec<Id>,
    ) -> Result<(NewParts, StagesChange), Refusal> {
        let bad = |error: &dyn std::error::Error| Refusal::Bad(in_one_line(error));
        let exporters = self.exporters.changed(config);
        let exporters = exporters.map_err(|error| bad(&error))?;
        let timing = config.service.drain_timing();
        let mut receivers = Vec::new();
        let named = config.receivers();
        for receiver in named.iter().copied() {
            if self.serving.has(receiver) {
                continue;
            }
            let before = self.serving.before(receiver, &named);
            let bound = BoundReceiver::bind(receiver, &timing, before).await;
            receivers.push(bound.map_err(|error| bad(&error))?);
        }
        let mut pipelines = Vec::new();
        let mut durables = Durables::new();
        for pipeline in &config.service.pipelines {
            if difference.stays(&pipeline.id) {
                pipelines.push(None);
                if difference.reroutes(&pipeline.id)
                    && let Some(running) = self.pipeline(&pipeline.id)
                {
                    let exporters = pipeline.exporters.iter();
                    let names = exporters.map(|exporter| exporter.id.to_string());
                    running.prepare_exporters(names.collect()).await?;
                }
                continue;
            }
            let opened = durable::open(pipeline).await;
            if let Some(opened) = opened.map_err(|error| bad(&error))? {
                durables.insert(pipeline.id.clone(), opened);
            }
            let stages = &self.stages;
            let built = build_pipeline(config, pipeline, &exporters, stages, &durables).await;
            pipelines.push(Some(built.map_err(|error| bad(&error))?));
        }
        let changed = self.restage(config, difference, restaged).await?;
        let made = NewParts {
            exporters,
            receivers,
            pipelines,
            durables,
        };
        Ok((made, changed))
    }

    /// Changes the stages of the pipelines that stay. `restaged` lists the ones that were changed,
    /// even after a failure. Pipelines that lose a stage come last, because a removed stage does
    /// not come back.
    async fn restage(
        &self,
        config: &Config,
        difference: &Difference,
        restaged: &mut Vec<Id>,
    ) -> Result<StagesChange, Refusal> {
        let mut all: Vec<_> = config.service.pipelines.iter().collect();
        all.sort_by_key(|pipeline| difference.removes(&pipeline.id));
        let mut changed = StagesChange::default();
        for pipeline in all {
            let Some(running) = self.pipeline(&pipeline.id) else {
                continue;
            };
            if !difference.restages(&pipeline.id) {
                continue;
            }
            add(&mut changed, running.change(self.specs(pipeline)).await?);
            restaged.push(pipeline.id.clone());
        }
        Ok(changed)
    }

    /// Restores everything to the state before [`CollectorState::take_in`].
    pub(crate) async fn put_back(
        &mut self,
        before: BTreeMap<Id, (Arc<Wasm>, Rollout)>,
        restaged: &[Id],
    ) {
        self.keep_stages(|id| before.contains_key(id));
        for (id, (wasm, rollout)) in before {
            if let Some(stage) = self.stages.get_mut(&id) {
                stage.wasm = wasm;
                stage.rollout = rollout;
            }
        }
        self.change_back(restaged).await;
    }

    /// Commits the rest of the reload. It cannot fail and does not wait, so it is done as a whole
    /// even when the collector is told to stop.
    pub(crate) fn commit(&mut self, config: Config, difference: &Difference, made: NewParts) {
        let NewParts {
            exporters,
            receivers,
            pipelines,
            durables,
        } = made;
        let old_ids: Vec<Id> = self
            .config
            .service
            .pipelines
            .iter()
            .map(|it| it.id.clone())
            .collect();
        let mut old: BTreeMap<Id, Pipeline> = old_ids
            .into_iter()
            .zip(std::mem::take(&mut self.pipelines))
            .collect();
        for (pipeline, built) in config.service.pipelines.iter().zip(pipelines) {
            let running = match built {
                Some(built) => Some(built),
                None => old.remove(&pipeline.id),
            };
            let Some(running) = running else { continue };
            if difference.reroutes(&pipeline.id) {
                running.set_exporters(exporters.specs(pipeline));
            }
            self.pipelines.push(running);
        }
        self.exporters = exporters;
        self.exporters.take_over();
        for receiver in &receivers {
            receiver.connect(&config, &self.pipelines);
        }
        // A receiver that takes over a socket accepts before the one that had it is told to stop.
        for receiver in receivers {
            self.serving.add(receiver);
        }
        let named = config.receivers();
        self.serving
            .retain(|id| named.iter().any(|receiver| receiver.id == *id));
        drop(named);
        self.serving.connect(&config, &self.pipelines);
        self.timing = config.service.drain_timing();
        for (id, pipeline) in old {
            let durable = self.durables.remove(&id);
            self.retiring.add(pipeline, durable, self.timing.timeout);
        }
        self.durables.extend(durables);
        self.limiters = Limiters::watch(&config, &self.pipelines);
        let wanted = config.stages();
        self.keep_stages(|id| wanted.contains_key(id));
        self.config = config;
    }

    /// Removes the stages that do not stay, but keeps the last numbers of their generations.
    fn keep_stages(&mut self, stays: impl Fn(&Id) -> bool) {
        let gone = self.stages.extract_if(.., |id, _| !stays(id));
        let last_numbers = gone.map(|(id, stage)| (id, stage.last_number));
        self.numbers.extend(last_numbers);
    }

    fn pipeline(&self, id: &Id) -> Option<&Pipeline> {
        let mut running = self.running();
        running
            .find(|(config, _)| config.id == *id)
            .map(|(_, pipeline)| pipeline)
    }
}
