//! Loads the plugins that pipelines name, each once.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use spandrel_config::examination::Examination;
use spandrel_config::id::Id;
use spandrel_config::plugins::Plugins as PluginRules;
use spandrel_config::problem::Problem;
use spandrel_config::processor::Wasm;
use spandrel_config::{Config, SPARE_INSTANCES};
use spandrel_plugin::{CompilerLocation, Engine, EngineConfig, LoadError, Metrics};
use tokio::time::Instant;
use tracing::{info, warn};

use crate::problems::problem;
use crate::stage::Stage;
use crate::stage::load::{LoadPlan, ProbedPlugin, StageLoadError};
use crate::stage::loaded::LoadedPlugin;
use crate::stage::table::Stages;
use crate::start_error::StartError;
use crate::time_text::millis;

/// Loads the plugins of all stages of a configuration.
pub(crate) async fn load_all(config: &Config) -> Result<Stages, StartError> {
    let mut stages = Stages::default();
    let wanted = config.stages();
    if wanted.is_empty() {
        return Ok(stages);
    }
    let engine = engine(config)?;
    for (id, wasm) in wanted {
        let metrics = Arc::new(Metrics::default());
        let rules = &config.service.plugins;
        let built = load(&engine, rules, &id, &wasm, &metrics).await;
        let loaded = match built {
            Ok(built) => built.loaded,
            Err(error) if may_come_later(&wasm, &error) => {
                warn!(
                    stage = %id,
                    error = &error as &dyn std::error::Error,
                    "plugin cannot be fetched, its stage passes all items until it can"
                );
                LoadedPlugin::missing(&wasm)
            }
            Err(source) => {
                return Err(StartError::Plugin {
                    stage: id.to_string(),
                    source: Box::new(source),
                });
            }
        };
        stages.add(Stage::new(id, wasm, metrics, loaded));
    }
    stages.set_engine(engine);
    Ok(stages)
}

/// A plugin that `validate` has loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plugin {
    stage: String,
    /// A description of the plugin. `None` if it cannot be fetched now and may come later.
    loaded: Option<String>,
}

impl fmt::Display for Plugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let loaded = self.loaded.as_deref();
        let loaded =
            loaded.unwrap_or("cannot be fetched now, its stage passes all items until it can");
        write!(f, "{}: {loaded}", self.stage)
    }
}

/// Loads every plugin for `validate`. Goes on after a failure, so that all problems are reported.
pub(crate) async fn check(examined: &Examination) -> (Vec<Plugin>, Vec<Problem>) {
    let (mut plugins, mut problems) = (Vec::new(), Vec::new());
    let wanted = examined.stages();
    let rules = examined.plugins().map(Arc::clone);
    let Some(rules) = rules.filter(|_| !wanted.is_empty()) else {
        return (plugins, problems);
    };
    let engine = match start_engine(&rules, SPARE_INSTANCES) {
        Ok(engine) => engine,
        Err(error) => return (plugins, vec![problem(String::new(), &error)]),
    };
    for (id, wasm) in wanted {
        let loaded = match load(&engine, &rules, &id, &wasm, &Arc::default()).await {
            Ok(built) => {
                let generation = &built.loaded.generation;
                let (manifest, identity) = (generation.manifest(), generation.identity());
                let (name, version) = (&manifest.name, &manifest.version);
                Some(format!("{name} {version}, sha256 {}", identity.module))
            }
            Err(error) if may_come_later(&wasm, &error) => None,
            Err(error) => {
                problems.push(problem(place(examined, &id, &error), &error));
                continue;
            }
        };
        let stage = id.to_string();
        plugins.push(Plugin { stage, loaded });
    }
    (plugins, problems)
}

/// Returns the path of the configuration key that is at fault.
fn place(examined: &Examination, id: &Id, error: &StageLoadError) -> String {
    let processor = format!("processors::{id}");
    let StageLoadError::Load(LoadError::Configure { message, .. }) = error else {
        return format!("{processor}::module");
    };
    if !examined.has(&["processors", id.as_str(), "config"]) {
        return processor;
    }
    // The plugin kit starts its messages with the path of the key: `routes[1].exact: ...`.
    let words = message.split_once(": ").map(|(path, _)| path);
    let words = words.filter(|path| !path.contains(' ')).unwrap_or_default();
    let keys = words.split(['.', '[', ']']).filter(|key| !key.is_empty());
    keys.fold(format!("{processor}::config"), |path, key| {
        format!("{path}::{key}")
    })
}

/// Returns true if the collector starts without this plugin.
fn may_come_later(wasm: &Wasm, error: &StageLoadError) -> bool {
    wasm.module.may_be_missing() && error.is_unreachable()
}

/// The way in which this process compiles. It depends on the program, not on a configuration: only
/// a program that can be started as a compiler can compile in a child process.
static COMPILER: OnceLock<CompilerLocation> = OnceLock::new();

/// Compiles plugins in a child process from now on. This program starts the child with this
/// argument, and the child calls [`spandrel_plugin::compile::confined::main`].
pub fn compile_in_child(argument: &str) {
    // This name always leads to the program that runs, even if its file was replaced meanwhile.
    let ours = PathBuf::from("/proc/self/exe");
    let program = match ours.exists() {
        true => Some(ours),
        false => std::env::current_exe().ok(),
    };
    let Some(program) = program else {
        warn!("this program does not know its own file: plugins are compiled without limits");
        return;
    };
    let compiler = CompilerLocation::Child {
        program,
        arguments: vec![argument.to_owned()],
    };
    // A second call sets the same value.
    COMPILER.set(compiler).unwrap_or_default();
}

/// Starts the engine for this configuration, with room for what it may become while the collector
/// runs.
pub(crate) fn engine(config: &Config) -> Result<Engine, StartError> {
    start_engine(&config.service.plugins, config.instances())
}

fn start_engine(rules: &PluginRules, instances: usize) -> Result<Engine, StartError> {
    let settings = EngineConfig {
        instances: u32::try_from(instances).unwrap_or(u32::MAX),
        cache: rules.code_cache(),
        compiler: COMPILER.get().cloned().unwrap_or_default(),
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
    rules: &Arc<PluginRules>,
    id: &Id,
    wasm: &Arc<Wasm>,
    metrics: &Arc<Metrics>,
) -> Result<ProbedPlugin, StageLoadError> {
    let started = Instant::now();
    let plan = LoadPlan::new(engine, rules, id, 1, wasm, metrics);
    let built = plan.build().await?;
    built.loaded.log(id, started);
    Ok(built)
}
