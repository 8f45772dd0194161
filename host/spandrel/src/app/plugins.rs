//! Loads the plugins that pipelines name, each once.

use std::collections::BTreeMap;
use std::sync::Arc;

use spandrel_pipeline::stage::Generation as _;
use spandrel_plugin::{Code, Engine, EngineConfig, Metrics};
use tokio::time::Instant;
use tracing::info;

use super::{StartError, millis, problem};
use crate::config::Config;
use crate::config::id::Id;
use crate::config::problem::Problem;
use crate::config::processor::Wasm;
use crate::control::build::{BuildError, Built, Plan};
use crate::control::lineup::{Loaded, ModuleSource, Stage};

/// The loaded plugins, by stage.
#[derive(Debug, Default)]
pub(super) struct Plugins {
    /// None while no pipeline has a stage.
    pub(super) engine: Option<Engine>,
    pub(super) stages: BTreeMap<Id, Stage>,
}

impl Plugins {
    pub(super) async fn load(config: &Config) -> Result<Self, StartError> {
        let mut plugins = Self::default();
        let wanted = wanted(config);
        if wanted.is_empty() {
            return Ok(plugins);
        }
        let engine = engine(config)?;
        for (id, wasm) in wanted {
            let metrics = Arc::new(Metrics::default());
            let built = load(&engine, &id, &wasm, &metrics).await;
            let built = built.map_err(|source| StartError::Plugin {
                stage: id.to_string(),
                source: Box::new(source),
            })?;
            let stage = Stage::new(id.clone(), wasm, metrics, built.loaded);
            plugins.stages.insert(id, stage);
        }
        plugins.engine = Some(engine);
        Ok(plugins)
    }
}

/// Loads every plugin for `validate`, and goes on after a failure: all problems are told.
pub(super) async fn check(config: &Config) -> Vec<Problem> {
    let wanted = wanted(config);
    if wanted.is_empty() {
        return Vec::new();
    }
    let engine = match engine(config) {
        Ok(engine) => engine,
        Err(error) => return vec![problem(String::new(), &error)],
    };
    let mut problems = Vec::new();
    for (id, wasm) in wanted {
        if let Err(error) = load(&engine, &id, &wasm, &Arc::default()).await {
            problems.push(problem(format!("processors::{id}"), &error));
        }
    }
    problems
}

/// Every stage once, whichever pipelines it stands in.
pub(crate) fn wanted(config: &Config) -> BTreeMap<Id, Arc<Wasm>> {
    let stages = config
        .service
        .pipelines
        .iter()
        .flat_map(|pipeline| &pipeline.stages);
    stages
        .map(|stage| (stage.id.clone(), Arc::clone(&stage.wasm)))
        .collect()
}

/// Room for plugins that come with a reload: with fewer instances than these in use, some address
/// space is all that it costs.
const SPARE_INSTANCES: usize = 64;

/// The engine for this configuration, and for what may become of it while the collector runs.
pub(crate) fn engine(config: &Config) -> Result<Engine, StartError> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let shards = config.service.shards.unwrap_or(cores);
    let places: usize = config
        .service
        .pipelines
        .iter()
        .map(|pipeline| pipeline.stages.len())
        .sum();
    // What runs, a candidate beside it, what replaces either, and what probes it.
    let instances = places
        .saturating_mul(shards)
        .saturating_mul(4)
        .saturating_add(SPARE_INSTANCES);
    let settings = EngineConfig {
        instances: u32::try_from(instances).unwrap_or(u32::MAX),
        ..EngineConfig::default()
    };
    let started = Instant::now();
    let engine = Engine::new(&settings)?;
    info!(
        instances,
        elapsed_ms = millis(started),
        "plugin engine started"
    );
    Ok(engine)
}

async fn load(
    engine: &Engine,
    id: &Id,
    wasm: &Arc<Wasm>,
    metrics: &Arc<Metrics>,
) -> Result<Built, BuildError> {
    let started = Instant::now();
    let plan = Plan {
        engine: engine.clone(),
        stage: id.to_string(),
        number: 1,
        source: ModuleSource::File(wasm.module.clone()),
        pinned: wasm.sha256,
        config: Arc::new(wasm.config.clone()),
        limits: wasm.limits.clone(),
        metrics: Arc::clone(metrics),
        evidence: None,
    };
    let built = plan.build().await?;
    log_loaded(id, &built.loaded, started);
    Ok(built)
}

/// One line for each generation that was loaded, whether it will run or not.
pub(crate) fn log_loaded(id: &Id, loaded: &Loaded, started: Instant) {
    let generation = &loaded.generation;
    let manifest = generation.manifest();
    info!(
        stage = %id,
        plugin = %manifest.name,
        version = %manifest.version,
        generation = generation.number(),
        digest = %generation.digest(),
        cached = generation.code() == Code::Cached,
        elapsed_ms = millis(started),
        "plugin loaded"
    );
}
