//! Reload: another configuration for the running collector. What did not change is not touched; what
//! did is built beside it, and published when all of it is there.

mod difference;

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use spandrel_pipeline::pipeline::{ChangeError, Pipeline, StagesChanged};
use spandrel_plugin::probation::Figures;
use spandrel_plugin::{Engine, Metrics};
use tokio::time::Instant;
use tracing::{error, warn};

use self::difference::Difference;
use super::api::ReloadReport;
use super::build::{BuildError, Built, Evidence, Plan};
use super::lineup::{Lineup, ModuleSource, Probation, Stage};
use super::publish::{Said, add};
use super::{By, Refusal, in_one_line};
use crate::app::drain::Timing;
use crate::app::exporters::Exporters;
use crate::app::live::{Live, build_pipeline};
use crate::app::millis;
use crate::app::plugins::{engine, log_loaded};
use crate::app::receivers::Bound;
use crate::config::Config;
use crate::config::id::Id;
use crate::config::processor::Wasm;
use crate::config::source::Sources;

/// A configuration that is to come into force.
pub(crate) struct Reloading {
    config: Config,
    difference: Difference,
    engine: Option<Engine>,
    plans: Vec<Renewal>,
    by: By,
    started: Instant,
}

/// A stage that needs another generation.
#[derive(Clone)]
struct Renewal {
    id: Id,
    wasm: Arc<Wasm>,
    metrics: Arc<Metrics>,
    number: u64,
    evidence: Evidence,
}

/// The generations for it.
pub(crate) struct Renewed(Vec<(Renewal, Built)>);

/// Everything that is made before anything is changed.
struct Made {
    exporters: Exporters,
    receivers: Vec<Bound>,
    /// In the order of the new configuration; none where the running one goes on.
    pipelines: Vec<Option<Pipeline>>,
}

impl Live {
    /// Reads the configuration again and says what is different.
    pub(super) async fn plan_reload(
        &mut self,
        sources: &Sources,
        by: By,
        started: Instant,
    ) -> Result<Reloading, Refusal> {
        let config = Config::load(sources).map_err(|bad| Refusal::Bad(bad.to_string()))?;
        for warning in &config.warnings {
            warn!(path = %warning.path, "{}", warning.what);
        }
        let difference = Difference::between(&self.config, &config);
        if self.engine.is_none() && !difference.loads.is_empty() {
            let made = engine(&config).map_err(|error| Refusal::Bad(in_one_line(&error)))?;
            self.engine = Some(made);
        }
        let mut plans = Vec::with_capacity(difference.loads.len());
        for (id, wasm) in &difference.loads {
            let evidence = self.evidence(id).await;
            let (metrics, number) = match self.stages.get_mut(id) {
                Some(stage) => (Arc::clone(&stage.metrics), stage.next_number()),
                None => (
                    Arc::default(),
                    self.numbers.get(id).map_or(1, |last| last + 1),
                ),
            };
            plans.push(Renewal {
                id: id.clone(),
                wasm: Arc::clone(wasm),
                metrics,
                number,
                evidence,
            });
        }
        Ok(Reloading {
            config,
            engine: self.engine.clone(),
            difference,
            plans,
            by,
            started,
        })
    }

    /// Brings it into force: as a whole, or not at all.
    pub(super) async fn reload(
        &mut self,
        reloading: Reloading,
        Renewed(renewed): Renewed,
    ) -> Result<ReloadReport, Refusal> {
        let Reloading {
            config,
            difference,
            by,
            started,
            ..
        } = reloading;
        let before: BTreeMap<Id, (Arc<Wasm>, Lineup)> = self
            .stages
            .iter()
            .map(|(id, stage)| (id.clone(), (Arc::clone(&stage.wasm), stage.lineup.clone())))
            .collect();
        let loaded: Vec<Id> = renewed.iter().map(|(of, _)| of.id.clone()).collect();
        self.take_in(&difference, renewed);
        let prepared = self.prepare(&config, &difference).await;
        let (made, changed) = match prepared {
            Ok(prepared) => prepared,
            Err(refusal) => {
                self.put_back(before, &config).await;
                return Err(refusal);
            }
        };
        self.commit(config, &difference, made);
        self.show();
        for id in loaded {
            let Some(stage) = self.stages.get(&id) else {
                continue;
            };
            let running = stage.lineup.running.clone();
            let said = Said {
                event: "published",
                by,
                loaded: &running,
                detail: "by the configuration".to_owned(),
                took: Some((started, &changed)),
            };
            self.say(&id, said);
        }
        let mut changes = difference.lines();
        for restart in &difference.needs_restart {
            warn!(
                part = restart,
                "this part of the configuration changes with the next start only"
            );
            changes.push(format!("{restart}: not changed, that takes a restart"));
        }
        Ok(ReloadReport {
            changes,
            elapsed_ms: millis(started),
        })
    }

    /// Gives the stages their new settings and generations; nothing is told to any pipeline yet.
    fn take_in(&mut self, difference: &Difference, renewed: Vec<(Renewal, Built)>) {
        for (id, wasm) in &difference.policies {
            if let Some(stage) = self.stages.get_mut(id) {
                stage.wasm = Arc::clone(wasm);
            }
        }
        for (of, Built { loaded, .. }) in renewed {
            let Renewal {
                id, wasm, metrics, ..
            } = of;
            match self.stages.get_mut(&id) {
                Some(stage) => {
                    stage.wasm = wasm;
                    let running = std::mem::replace(&mut stage.lineup.running, loaded);
                    stage.lineup.previous = Some(running);
                    stage.lineup.candidate = None;
                    stage.lineup.probation = Some(Probation::begin(Figures::default()));
                }
                None => {
                    let stage = Stage::new(id.clone(), wasm, metrics, loaded);
                    self.stages.insert(id, stage);
                }
            }
        }
    }

    /// Makes everything that is new, then changes the stages of the pipelines that stay: the last
    /// thing that can fail.
    async fn prepare(
        &self,
        config: &Config,
        difference: &Difference,
    ) -> Result<(Made, StagesChanged), Refusal> {
        let bad = |error: &dyn std::error::Error| Refusal::Bad(in_one_line(error));
        let exporters = self.exporters.changed(config);
        let exporters = exporters.map_err(|error| bad(&error))?;
        let timing = Timing::of(config);
        let mut receivers = Vec::new();
        for receiver in config.receivers() {
            if self.serving.has(receiver) {
                continue;
            }
            let before = self.serving.at_work(&receiver.id);
            let bound = Bound::bind(receiver, &timing, before).await;
            receivers.push(bound.map_err(|error| bad(&error))?);
        }
        let mut pipelines = Vec::new();
        for pipeline in &config.service.pipelines {
            pipelines.push(match difference.stays(&pipeline.id) {
                true => None,
                false => {
                    let built = build_pipeline(config, pipeline, &exporters, &self.stages).await;
                    Some(built.map_err(|error| bad(&error))?)
                }
            });
        }
        let mut changed = StagesChanged::default();
        for pipeline in &config.service.pipelines {
            if let Some(running) = self.pipeline(&pipeline.id)
                && difference.restages(&pipeline.id)
            {
                let done = running.change(self.specs(pipeline)).await;
                let done = done.map_err(|error| match error {
                    ChangeError::Busy => Refusal::Conflict(in_one_line(&error)),
                    error => bad(&error),
                })?;
                add(&mut changed, done);
            }
        }
        let made = Made {
            exporters,
            receivers,
            pipelines,
        };
        Ok((made, changed))
    }

    /// Everything as it was before [`Live::take_in`].
    async fn put_back(&mut self, before: BTreeMap<Id, (Arc<Wasm>, Lineup)>, tried: &Config) {
        self.stages.retain(|id, _| before.contains_key(id));
        for (id, (wasm, lineup)) in before {
            if let Some(stage) = self.stages.get_mut(&id) {
                stage.wasm = wasm;
                stage.lineup = lineup;
            }
        }
        for (config, pipeline) in self.running() {
            let is_tried = tried
                .service
                .pipelines
                .iter()
                .any(|tried| tried.id == config.id);
            // For those that had not been changed yet this is no change.
            if is_tried
                && !config.stages.is_empty()
                && let Err(error) = pipeline.change(self.specs(config)).await
            {
                error!(
                    pipeline = %config.id,
                    error = &error as &dyn std::error::Error,
                    "a pipeline could not be changed back"
                );
            }
        }
        self.show();
    }

    /// The rest cannot fail and does not wait: it is done as a whole even when the collector is told
    /// to stop.
    fn commit(&mut self, config: Config, difference: &Difference, made: Made) {
        let Made {
            exporters,
            receivers,
            pipelines,
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
        for receiver in &receivers {
            receiver.connect(&config, &self.pipelines);
        }
        let named = config.receivers();
        self.serving
            .retain(|id| named.iter().any(|receiver| receiver.id == *id));
        drop(named);
        self.serving.connect(&config, &self.pipelines);
        for receiver in receivers {
            self.serving.add(receiver);
        }
        self.timing = Timing::of(&config);
        for pipeline in old.into_values() {
            self.retiring.add(pipeline, self.timing.timeout);
        }
        let wanted = crate::app::plugins::wanted(&config);
        let gone = self.stages.extract_if(.., |id, _| !wanted.contains_key(id));
        let last_numbers = gone.map(|(id, stage)| (id, stage.last_number));
        self.numbers.extend(last_numbers.collect::<Vec<_>>());
        self.config = config;
    }

    fn pipeline(&self, id: &Id) -> Option<&Pipeline> {
        let mut running = self.running();
        running
            .find(|(config, _)| config.id == *id)
            .map(|(_, pipeline)| pipeline)
    }
}

impl Reloading {
    /// The modules that were to be loaded.
    pub(super) fn modules(&self) -> Vec<std::path::PathBuf> {
        let plans = self.plans.iter();
        plans.map(|of| of.wasm.module.clone()).collect()
    }

    /// Builds the generations, with proof that they work.
    pub(super) fn build(&self) -> BoxFuture<'static, Result<Renewed, Refusal>> {
        let engine = self.engine.clone();
        let plans = self.plans.clone();
        async move {
            let mut renewed = Vec::with_capacity(plans.len());
            for of in plans {
                let started = Instant::now();
                let Some(engine) = &engine else { continue };
                let plan = Plan {
                    engine: engine.clone(),
                    stage: of.id.to_string(),
                    number: of.number,
                    source: ModuleSource::File(of.wasm.module.clone()),
                    pinned: of.wasm.sha256,
                    config: Arc::new(of.wasm.config.clone()),
                    limits: of.wasm.limits.clone(),
                    metrics: Arc::clone(&of.metrics),
                    evidence: Some(of.evidence.clone()),
                };
                let built = plan.build().await;
                let built = built.map_err(|error| {
                    let why = in_one_line(&error);
                    Refusal::Bad(match error {
                        BuildError::Probe { .. } => why,
                        // Nothing in it says for which stage the plugin was.
                        BuildError::Load(_) => format!("stage `{}`: {why}", of.id),
                    })
                })?;
                log_loaded(&of.id, &built.loaded, started);
                renewed.push((of, built));
            }
            Ok(Renewed(renewed))
        }
        .boxed()
    }
}
