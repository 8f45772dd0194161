//! Reload: applies another configuration to the running collector. Unchanged parts are not touched.
//! Changed parts are built beside them, and are published when all of them are ready.

mod difference;
mod left;
mod parts;
mod settled;
mod turn;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use crate::stage::probation::Figures;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use spandrel_config::Config;
use spandrel_config::id::Id;
use spandrel_config::processor::Wasm;
use spandrel_config::source::Sources;
use spandrel_plugin::{Engine, Metrics};
use tokio::time::Instant;
use tracing::warn;

use self::difference::{ChangedNames, Difference, keep_journals};
use crate::controller::swap::failed_before;
use crate::error_chain::in_one_line;
use crate::plugins::{engine, log_loaded};
use crate::problems::warn_of;
use crate::refusal::Refusal;
use crate::report::ReloadReport;
use crate::stage::load::{LoadPlan, ProbeInput, ProbedPlugin, StageLoadError};
use crate::stage::rollout::{Rollout, Stage, Watch};
use crate::state::CollectorState;
use crate::time_text::millis;
use crate::trigger::Trigger;

/// A configuration that is to come into force.
pub(crate) struct PendingReload {
    config: Config,
    difference: Difference,
    engine: Option<Engine>,
    plans: Vec<Renewal>,
    /// The modules that are to be loaded.
    modules: Vec<PathBuf>,
    by: Trigger,
    started: Instant,
}

/// A stage that needs another generation.
struct Renewal {
    id: Id,
    wasm: Arc<Wasm>,
    metrics: Arc<Metrics>,
    number: u64,
    probe_input: ProbeInput,
}

/// The generations that were built for a reload.
pub(crate) struct NewGenerations(Vec<(Renewal, ProbedPlugin)>);

impl CollectorState {
    /// Reads the configuration again and finds the differences.
    pub(crate) async fn plan_reload(
        &mut self,
        sources: &Sources,
        by: Trigger,
        started: Instant,
    ) -> Result<PendingReload, Refusal> {
        let mut config = settled::load(sources).await?;
        warn_of(&config.warnings);
        let difference = Difference::between(&self.config, &config);
        keep_journals(&self.config, &mut config);
        if self.engine.is_none() && !difference.loads.is_empty() {
            let made = engine(&config).map_err(|error| Refusal::Bad(in_one_line(&error)))?;
            self.engine = Some(made);
        }
        let mut plans = Vec::with_capacity(difference.loads.len());
        for (id, wasm) in &difference.loads {
            let probe_input = self.probe_input(id).await;
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
                probe_input,
            });
        }
        Ok(PendingReload {
            config,
            engine: self.engine.clone(),
            difference,
            modules: plans
                .iter()
                .flat_map(|of| {
                    let module = &of.wasm.module;
                    let file = module.file().map(PathBuf::from);
                    file.into_iter().chain(module.signature_file())
                })
                .collect(),
            plans,
            by,
            started,
        })
    }

    /// Brings the configuration into force, as a whole or not at all.
    pub(crate) async fn reload(
        &mut self,
        reloading: PendingReload,
        NewGenerations(renewed): NewGenerations,
    ) -> Result<ReloadReport, Refusal> {
        let PendingReload {
            config,
            difference,
            by,
            started,
            ..
        } = reloading;
        let before: BTreeMap<Id, (Arc<Wasm>, Rollout)> = self
            .stages
            .iter()
            .map(|(id, stage)| (id.clone(), (Arc::clone(&stage.wasm), stage.rollout.clone())))
            .collect();
        let mut loaded: Vec<Id> = renewed.iter().map(|(of, _)| of.id.clone()).collect();
        if let Some(refusal) = self.known_to_fail(&renewed) {
            return Err(refusal);
        }
        let recent = loaded.iter().map(|id| (id.clone(), self.recent(id)));
        let recent: BTreeMap<Id, Figures> = recent.collect();
        self.take_in(&difference, renewed, &recent);
        let mut restaged = Vec::new();
        let prepared = self.prepare(&config, &difference, &mut restaged).await;
        let (made, changed) = match prepared {
            Ok(prepared) => prepared,
            Err(refusal) => {
                self.put_back(before, &restaged).await;
                return Err(refusal);
            }
        };
        self.commit(config, &difference, made);
        for (id, (_, rollout)) in &before {
            self.note_ended(id, rollout, by);
        }
        loaded.retain(|id| self.runs_anew(id, &before));
        for id in loaded {
            self.report_takeover(&id, "published", by, "", (started, &changed));
        }
        self.show();
        let mut changes = difference.lines();
        for restart in &difference.needs_restart {
            warn!(
                part = restart,
                "this part of the configuration changes with the next start only"
            );
            changes.push(format!("{restart}: not changed, that takes a restart"));
        }
        let ChangedNames {
            added,
            removed,
            changed,
        } = difference.summary();
        Ok(ReloadReport {
            changes,
            added,
            removed,
            changed,
            left: Vec::new(),
            elapsed_ms: millis(started),
        })
    }

    /// Returns a refusal if one of the generations failed before in its stage: it is not loaded
    /// again without a change.
    fn known_to_fail(&self, renewed: &[(Renewal, ProbedPlugin)]) -> Option<Refusal> {
        let mut failed = renewed.iter().filter(|(of, built)| {
            let digest = built.loaded.generation.digest();
            let stage = self.stages.get(&of.id);
            stage.is_some_and(|stage| stage.has_failed(&digest))
        });
        failed.next().map(|(of, _)| failed_before(&of.id))
    }

    /// Returns true if a stage runs another generation than before.
    fn runs_anew(&self, id: &Id, before: &BTreeMap<Id, (Arc<Wasm>, Rollout)>) -> bool {
        let number = |rollout: &Rollout| rollout.running.number();
        let now = self.stages.get(id).map(|stage| number(&stage.rollout));
        now != before.get(id).map(|(_, rollout)| number(rollout))
    }

    /// Gives the stages their new settings and generations. The pipelines do not learn of it yet.
    fn take_in(
        &mut self,
        difference: &Difference,
        renewed: Vec<(Renewal, ProbedPlugin)>,
        recent: &BTreeMap<Id, Figures>,
    ) {
        for (id, wasm) in &difference.policies {
            if let Some(stage) = self.stages.get_mut(id) {
                stage.wasm = Arc::clone(wasm);
            }
        }
        for (of, ProbedPlugin { loaded, .. }) in renewed {
            let Renewal {
                id, wasm, metrics, ..
            } = of;
            match self.stages.get_mut(&id) {
                Some(stage) => {
                    let before = std::mem::replace(&mut stage.wasm, wasm);
                    stage.configured = Some(loaded.generation.identity().module);
                    let running = &stage.rollout.running;
                    let is_same = running.generation.digest() == loaded.generation.digest()
                        && running.limits == loaded.limits;
                    if is_same {
                        stage.give_back(loaded.number());
                    } else {
                        let recent = recent.get(&id).copied().unwrap_or_default();
                        let none = Figures::default();
                        stage.rollout = stage.rollout.published(loaded, none, recent, Watch::All);
                    }
                    let rules = &stage.wasm.module;
                    let allows = |module| rules.still_allows(&before.module, module);
                    if let Some(ended) = stage.rollout.keep_allowed(allows) {
                        warn!(
                            stage = %id,
                            generation = ended.loaded.number(),
                            "candidate ended, the configuration no longer allows its module"
                        );
                    }
                }
                None => {
                    let stage = Stage::new(id.clone(), wasm, metrics, loaded);
                    self.stages.insert(id, stage);
                }
            }
        }
    }
}

impl PendingReload {
    /// Returns the modules that are to be loaded, and forgets them.
    pub(crate) fn take_modules(&mut self) -> Vec<PathBuf> {
        std::mem::take(&mut self.modules)
    }

    /// Builds the generations and probes them.
    pub(crate) fn build(&mut self) -> BoxFuture<'static, Result<NewGenerations, Refusal>> {
        let engine = self.engine.clone();
        let plans = std::mem::take(&mut self.plans);
        let plugins = Arc::clone(&self.config.service.plugins);
        async move {
            let mut renewed = Vec::with_capacity(plans.len());
            for mut of in plans {
                let started = Instant::now();
                let Some(engine) = &engine else { continue };
                let probe_input = std::mem::take(&mut of.probe_input);
                let plan =
                    LoadPlan::new(engine, &plugins, &of.id, of.number, &of.wasm, &of.metrics)
                        .with_probe(probe_input);
                let built = plan.build().await;
                let built = built.map_err(|error| {
                    let why = in_one_line(&error);
                    Refusal::Bad(match error {
                        StageLoadError::Probe { .. } => why,
                        // These errors do not say for which stage the plugin was.
                        StageLoadError::Load(_)
                        | StageLoadError::Fetch { .. }
                        | StageLoadError::Setup(_) => {
                            format!("stage `{}`: {why}", of.id)
                        }
                    })
                })?;
                log_loaded(&of.id, &built.loaded, started);
                renewed.push((of, built));
            }
            Ok(NewGenerations(renewed))
        }
        .boxed()
    }
}
