//! Loads the plugins that pipelines name, each once.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use spandrel_plugin::{Compile, Engine, EngineConfig, Metrics};
use tokio::time::Instant;
use tracing::{info, warn};

use super::{StartError, millis, problem};
use crate::config::Config;
use crate::config::id::Id;
use crate::config::plugins::Plugins as Policy;
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
            let built = load(&engine, config, &id, &wasm, &metrics).await;
            let loaded = match built {
                Ok(built) => built.loaded,
                Err(error) if may_come_later(&wasm, &error) => {
                    warn!(
                        stage = %id,
                        error = &error as &dyn std::error::Error,
                        "plugin not to be had, its stage passes everything until it is"
                    );
                    Loaded::awaited(&wasm)
                }
                Err(source) => {
                    return Err(StartError::Plugin {
                        stage: id.to_string(),
                        source: Box::new(source),
                    });
                }
            };
            let stage = Stage::new(id.clone(), wasm, metrics, loaded);
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
        if let Err(error) = load(&engine, config, &id, &wasm, &Arc::default()).await
            && !may_come_later(&wasm, &error)
        {
            problems.push(problem(format!("processors::{id}"), &error));
        }
    }
    problems
}

/// Whether the collector starts without this plugin.
fn may_come_later(wasm: &Wasm, error: &BuildError) -> bool {
    wasm.module.may_be_missing() && error.is_unreachable()
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

/// How this process compiles. A fact of the program, not of a configuration: only a program that can
/// be started as a compiler can do it in a child.
static COMPILE: OnceLock<Compile> = OnceLock::new();

/// From now on plugins are compiled in a process of their own, which this program starts with this
/// argument, and in which it calls [`spandrel_plugin::compile::confined::main`].
pub fn compile_in_child(argument: &str) {
    // By this name it is the very program that runs, also when its file was replaced meanwhile.
    let ours = PathBuf::from("/proc/self/exe");
    let program = match ours.exists() {
        true => Some(ours),
        false => std::env::current_exe().ok(),
    };
    let Some(program) = program else {
        warn!("this program does not know its own file: plugins are compiled without limits");
        return;
    };
    let compile = Compile::Child {
        program,
        arguments: vec![argument.to_owned()],
    };
    // A second time says the same.
    COMPILE.set(compile).unwrap_or_default();
}

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
    let default = EngineConfig::default();
    let policy: &Policy = &config.service.plugins;
    let cache_dir = policy.cache_dir.as_ref();
    let settings = EngineConfig {
        instances: u32::try_from(instances).unwrap_or(u32::MAX),
        cache: cache_dir
            .map(|base| base.join("compiled"))
            .or(default.cache),
        compile: COMPILE.get().cloned().unwrap_or_default(),
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
    config: &Config,
    id: &Id,
    wasm: &Arc<Wasm>,
    metrics: &Arc<Metrics>,
) -> Result<Built, BuildError> {
    let started = Instant::now();
    let plan = Plan {
        engine: engine.clone(),
        stage: id.to_string(),
        number: 1,
        source: ModuleSource::Place(wasm.module.place.clone()),
        pinned: wasm.module.sha256,
        keys: wasm.module.keys.clone(),
        trusted_comment: wasm.module.trusted_comment.clone(),
        plugins: Arc::clone(&config.service.plugins),
        config: Arc::new(wasm.config.clone()),
        hidden: Arc::clone(&wasm.hidden),
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
    let identity = generation.identity();
    info!(
        stage = %id,
        plugin = %manifest.name,
        version = %manifest.version,
        generation = generation.number(),
        sha256 = %identity.module,
        config_sha256 = %identity.config,
        cached = generation.is_cached(),
        elapsed_ms = millis(started),
        "plugin loaded"
    );
}
