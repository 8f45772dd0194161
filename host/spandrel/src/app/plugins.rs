//! Loads the plugins that pipelines name, each once.

use std::collections::BTreeMap;
use std::sync::Arc;

use spandrel_pipeline::stage::Generation as _;
use spandrel_plugin::{
    Code, CompileLimits, Engine, EngineConfig, Generation, Load, LoadError, Metrics,
};
use tokio::time::Instant;
use tracing::info;

use super::{StartError, millis, problem};
use crate::config::Config;
use crate::config::id::Id;
use crate::config::problem::Problem;
use crate::config::processor::Wasm;

/// The loaded plugins, by stage.
#[derive(Debug, Default)]
pub(super) struct Plugins {
    loaded: BTreeMap<Id, Loaded>,
}

#[derive(Debug)]
struct Loaded {
    generation: Arc<Generation>,
    metrics: Arc<Metrics>,
}

impl Plugins {
    pub(super) async fn load(config: &Config) -> Result<Self, StartError> {
        let stages = stages(config);
        let mut plugins = Self::default();
        if stages.is_empty() {
            return Ok(plugins);
        }
        let engine = engine(config, stages.len())?;
        for (id, wasm) in stages {
            let started = Instant::now();
            let loaded = load(&engine, &id, wasm)
                .await
                .map_err(|source| StartError::Plugin {
                    stage: id.to_string(),
                    source: Box::new(source),
                })?;
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
            plugins.loaded.insert(id, loaded);
        }
        Ok(plugins)
    }

    pub(super) fn generation(
        &self,
        id: &Id,
    ) -> Option<Arc<dyn spandrel_pipeline::stage::Generation>> {
        let loaded = self.loaded.get(id)?;
        Some(Arc::clone(&loaded.generation) as Arc<dyn spandrel_pipeline::stage::Generation>)
    }

    /// The plugins' own metrics, by stage.
    pub(super) fn metrics(&self) -> Vec<(String, Arc<Metrics>)> {
        let loaded = self.loaded.iter();
        loaded
            .map(|(id, loaded)| (id.to_string(), Arc::clone(&loaded.metrics)))
            .collect()
    }
}

/// Loads every plugin for `validate`, and goes on after a failure: all problems are told.
pub(super) async fn check(config: &Config) -> Vec<Problem> {
    let stages = stages(config);
    if stages.is_empty() {
        return Vec::new();
    }
    let engine = match engine(config, stages.len()) {
        Ok(engine) => engine,
        Err(error) => return vec![problem(String::new(), &error)],
    };
    let mut problems = Vec::new();
    for (id, wasm) in stages {
        if let Err(error) = load(&engine, &id, wasm).await {
            problems.push(problem(format!("processors::{id}"), &error));
        }
    }
    problems
}

/// Every stage once, whichever pipelines it stands in.
fn stages(config: &Config) -> BTreeMap<Id, &Wasm> {
    let stages = config
        .service
        .pipelines
        .iter()
        .flat_map(|pipeline| &pipeline.stages);
    stages
        .map(|stage| (stage.id.clone(), &*stage.wasm))
        .collect()
}

fn engine(config: &Config, stages: usize) -> Result<Engine, StartError> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let shards = config.service.shards.unwrap_or(cores);
    let places: usize = config
        .service
        .pipelines
        .iter()
        .map(|pipeline| pipeline.stages.len())
        .sum();
    // Twice what runs, for replacements, and one for each load.
    let instances = places
        .saturating_mul(shards)
        .saturating_mul(2)
        .saturating_add(stages);
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

async fn load(engine: &Engine, id: &Id, wasm: &Wasm) -> Result<Loaded, LoadError> {
    let metrics = Arc::new(Metrics::default());
    let config = wasm.config.to_string();
    let generation = Generation::load(
        engine,
        Load {
            stage: id.as_str(),
            number: 1,
            module: (&wasm.module).into(),
            pinned: wasm.sha256,
            config: &config,
            limits: wasm.limits.clone(),
            compile: CompileLimits::default(),
            metrics: Arc::clone(&metrics),
        },
    );
    let generation = Arc::new(generation.await?);
    Ok(Loaded {
        generation,
        metrics,
    })
}
