//! Reload: applies another configuration to the running collector. Unchanged parts are not touched.
//! Changed parts are built beside them, and are published when all of them are ready.

mod settled;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use spandrel_config::Config;
use spandrel_config::id::Id;
use spandrel_config::processor::Wasm;
use spandrel_config::source::Sources;
use spandrel_plugin::{Engine, Metrics};
use tokio::time::Instant;
use tracing::{info, warn};

use crate::control::Reply;
use crate::controller::request::failed_before;
use crate::controller::stage_change::StageChange;
use crate::difference::{ChangedNames, Difference, keep_journals};
use crate::error_chain::in_one_line;
use crate::plugins::engine;
use crate::problems::warn_of;
use crate::refusal::Refusal;
use crate::report::{EventView, ReloadReport};
use crate::stage::Stage;
use crate::stage::load::{LoadPlan, ProbeInput, ProbedPlugin, StageLoadError};
use crate::stage::probation::Figures;
use crate::stage::table::Stages;
use crate::state::CollectorState;
use crate::time_text::millis;
use crate::trigger::Trigger;

/// The stage name of events that concern the whole configuration.
const CONFIGURATION: &str = "(configuration)";

/// An order to read the configuration again.
pub(super) struct ReloadOrder {
    pub(super) by: Trigger,
    /// `None` if nobody waits for the answer.
    pub(super) reply: Option<Reply<ReloadReport>>,
}

impl ReloadOrder {
    /// Makes the order of a signal or of a file that has changed.
    pub(super) fn automatic() -> Self {
        Self {
            by: Trigger::Reload,
            reply: None,
        }
    }

    /// Returns true if nobody waits for the answer.
    pub(super) fn is_automatic(&self) -> bool {
        self.reply.is_none()
    }

    /// Reports that the configuration is in force.
    pub(super) fn succeed(self, report: ReloadReport) {
        let names = |of: &[String]| (!of.is_empty()).then(|| of.join(", "));
        info!(
            added = names(&report.added),
            removed = names(&report.removed),
            changed = names(&report.changed),
            changes = report.changes.len(),
            left_different = report.left.len(),
            elapsed_ms = report.elapsed_ms,
            "configuration reloaded"
        );
        self.answer(Ok(report));
    }

    /// Reports that nothing was changed.
    pub(super) fn refuse(self, state: &CollectorState, refusal: Refusal) {
        warn!(
            error = &refusal as &dyn std::error::Error,
            "configuration not reloaded, everything runs on as it was"
        );
        let status = state.status();
        status.reload_ended(true);
        status.count(CONFIGURATION, "refused");
        status.add(EventView {
            stage: CONFIGURATION.to_owned(),
            event: "refused".to_owned(),
            by: self.by.label().to_owned(),
            detail: refusal.to_string(),
            ..EventView::default()
        });
        self.answer(Err(refusal));
    }

    /// Sends the answer. The client may be gone.
    fn answer(self, done: Result<ReloadReport, Refusal>) {
        if let Some(reply) = self.reply {
            drop(reply.send(done));
        }
    }
}

/// A configuration that is to come into force.
pub(super) struct PendingReload {
    config: Config,
    difference: Difference,
    engine: Option<Engine>,
    renewals: Vec<Renewal>,
    /// The files of the modules that are to be loaded, and of their signatures.
    modules: Vec<PathBuf>,
    started: Instant,
}

/// A stage that needs another generation.
pub(super) struct Renewal {
    id: Id,
    wasm: Arc<Wasm>,
    metrics: Arc<Metrics>,
    number: u64,
    probe_input: ProbeInput,
}

/// A stage with the generation that was built for it.
pub(super) type NewGeneration = (Renewal, ProbedPlugin);

impl PendingReload {
    /// Reads the configuration again and finds the differences.
    pub(super) async fn plan(
        state: &mut CollectorState,
        sources: &Sources,
    ) -> Result<Self, Refusal> {
        let started = Instant::now();
        let mut config = settled::load(sources).await?;
        warn_of(&config.warnings);
        let running = state.pipelines().config();
        let difference = Difference::between(running, &config);
        keep_journals(running, &mut config);
        if state.stages().engine().is_none() && !difference.loads().is_empty() {
            let made = engine(&config).map_err(|error| Refusal::Bad(in_one_line(&error)))?;
            state.stages_mut().set_engine(made);
        }
        let mut renewals = Vec::with_capacity(difference.loads().len());
        for (id, wasm) in difference.loads() {
            let probe_input = state.pipelines().probe_input(id).await;
            let stages = state.stages_mut();
            let metrics = stages.get(id).map(|stage| Arc::clone(stage.metrics()));
            renewals.push(Renewal {
                id: id.clone(),
                wasm: Arc::clone(wasm),
                metrics: metrics.unwrap_or_default(),
                number: stages.next_number(id),
                probe_input,
            });
        }
        let modules = renewals.iter().flat_map(|renewal| {
            let module = &renewal.wasm.module;
            let file = module.file().map(PathBuf::from);
            file.into_iter().chain(module.signature_file())
        });
        Ok(Self {
            modules: modules.collect(),
            config,
            engine: state.stages().engine().cloned(),
            difference,
            renewals,
            started,
        })
    }

    /// Returns the files of the modules that are to be loaded, and of their signatures.
    pub(super) fn modules(&self) -> &[PathBuf] {
        &self.modules
    }

    /// Builds the generations and probes them.
    pub(super) async fn build(&mut self) -> Result<Vec<NewGeneration>, Refusal> {
        let mut built = Vec::with_capacity(self.renewals.len());
        let Some(engine) = &self.engine else {
            return Ok(built);
        };
        for mut renewal in std::mem::take(&mut self.renewals) {
            let started = Instant::now();
            let rules = &self.config.service.plugins;
            let probe_input = std::mem::take(&mut renewal.probe_input);
            let Renewal {
                id, wasm, metrics, ..
            } = &renewal;
            let plan = LoadPlan::new(engine, rules, id, renewal.number, wasm, metrics);
            let probed = plan.with_probe(probe_input).build().await;
            let probed = probed.map_err(|error| not_built(id, &error))?;
            probed.loaded.log(id, started);
            built.push((renewal, probed));
        }
        Ok(built)
    }

    /// Brings the configuration into force, as a whole or not at all.
    pub(super) async fn apply(
        self,
        state: &mut CollectorState,
        by: Trigger,
        built: Vec<NewGeneration>,
    ) -> Result<ReloadReport, Refusal> {
        let Self {
            config,
            difference,
            started,
            ..
        } = self;
        if let Some(refusal) = known_to_fail(state.stages(), &built) {
            return Err(refusal);
        }
        let before = state.stages().backup();
        let loaded: Vec<Id> = built
            .iter()
            .map(|(renewal, _)| renewal.id.clone())
            .collect();
        let recent = loaded.iter().map(|id| (id.clone(), state.recent(id)));
        let recent: BTreeMap<Id, Figures> = recent.collect();
        renew(state.stages_mut(), &difference, built, &recent);
        let changed = state.reconfigure(config, &difference, &before, by).await?;
        for id in loaded {
            let now = state.stages().get(&id);
            let now = now.map(|stage| stage.running().number());
            if now != before.running_number(&id) {
                let change = StageChange::new(state, &id, by);
                let mut change = change.since(started);
                change.report_takeover("published", "", &changed);
            }
        }
        state.show();
        let mut changes = difference.lines();
        for restart in difference.needs_restart() {
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
}

/// Returns the refusal for a generation that could not be built.
fn not_built(id: &Id, error: &StageLoadError) -> Refusal {
    let why = in_one_line(error);
    Refusal::Bad(match error {
        StageLoadError::Probe { .. } => why,
        // These errors do not say for which stage the plugin was.
        StageLoadError::Load(_) | StageLoadError::Fetch { .. } | StageLoadError::Setup(_) => {
            format!("stage `{id}`: {why}")
        }
    })
}

/// Returns a refusal if one of the generations failed before in its stage: it is not loaded again
/// without a change.
fn known_to_fail(stages: &Stages, built: &[NewGeneration]) -> Option<Refusal> {
    let mut failed = built.iter().filter(|(renewal, built)| {
        let digest = built.loaded.generation.digest();
        let stage = stages.get(&renewal.id);
        stage.is_some_and(|stage| stage.has_failed(&digest))
    });
    failed.next().map(|(renewal, _)| failed_before(&renewal.id))
}

/// Gives the stages their new settings and generations. The pipelines do not learn of it yet.
fn renew(
    stages: &mut Stages,
    difference: &Difference,
    built: Vec<NewGeneration>,
    recent: &BTreeMap<Id, Figures>,
) {
    for (id, wasm) in difference.policies() {
        if let Some(stage) = stages.get_mut(id) {
            stage.set_wasm(Arc::clone(wasm));
        }
    }
    for (renewal, ProbedPlugin { loaded, .. }) in built {
        let Renewal {
            id, wasm, metrics, ..
        } = renewal;
        let Some(stage) = stages.get_mut(&id) else {
            stages.add(Stage::new(id, wasm, metrics, loaded));
            continue;
        };
        let recent = recent.get(&id).copied().unwrap_or_default();
        if let Some(ended) = stage.renew(wasm, loaded, recent) {
            warn!(
                stage = %id,
                generation = ended.loaded.number(),
                "candidate ended, the configuration no longer allows its module"
            );
        }
    }
}
