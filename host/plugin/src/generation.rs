//! One loaded plugin (bytes + config) of a stage: it makes instances.

use std::fmt;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use spandrel_pipeline::stage::{self, Fault, InstantiateError, Manifest};
use spandrel_supply::{Digest, InstanceLimits};

use crate::abi::{self, v0_1};
use crate::cache::CodeOrigin;
use crate::engine::Engine;
use crate::error::LoadError;
use crate::instance::Instance;
use crate::load::{self, CompiledPlugin, LoadRequest};
use crate::log::GuestLog;
use crate::metrics::Metrics;
use crate::store::{self, Guest};
use crate::{fault, manifest};

/// The identity of a generation by content: the same bytes and config are the same generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GenerationId {
    /// The sha256 of the plugin's bytes.
    pub module: Digest,
    /// The sha256 of its config.
    pub config: Digest,
    /// The sha256 of both.
    pub generation: Digest,
}

impl GenerationId {
    /// Makes the identity of bytes with this digest and a config, in the form that the plugin gets
    /// it.
    pub fn new(module: Digest, config: &str) -> Self {
        Self {
            module,
            config: Digest::of(config.as_bytes()),
            generation: Digest::of_parts(&[module.as_bytes(), config.as_bytes()]),
        }
    }
}

/// A plugin that was compiled, checked and configured once.
pub struct Generation {
    engine: Engine,
    pre: v0_1::PluginPre<Guest>,
    manifest: Manifest,
    config: String,
    identity: GenerationId,
    module_bytes: usize,
    number: u64,
    code: CodeOrigin,
    limits: InstanceLimits,
    log: Arc<GuestLog>,
    metrics: Arc<Metrics>,
}

impl fmt::Debug for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Generation")
            .field("stage", &self.log.stage())
            .field("number", &self.number)
            .field("digest", &self.identity.generation)
            .field("code", &self.code)
            .field("manifest", &self.manifest)
            .finish_non_exhaustive()
    }
}

/// The reason why an instance did not start.
enum StartFailure {
    Instantiate(wasmtime::Error),
    Faulted(Fault),
    Refused(String),
}

impl Generation {
    /// Reads, compiles (or takes from the cache), checks, and configures one instance to learn the
    /// manifest. Compiles on threads of its own.
    pub async fn load(engine: &Engine, request: LoadRequest<'_>) -> Result<Self, LoadError> {
        let CompiledPlugin {
            component,
            artifact,
            code,
        } = load::compile(engine, &request).await?;
        let module = artifact.name();
        abi::check(module, &component)?;
        let link = |error: wasmtime::Error| LoadError::Link {
            module: module.to_owned(),
            source: error.into(),
        };
        let pre = engine.v0_1().instantiate_pre(&component).map_err(link)?;
        let mut generation = Self {
            engine: engine.clone(),
            pre: v0_1::PluginPre::new(pre).map_err(link)?,
            manifest: Manifest::default(),
            config: request.config.to_owned(),
            identity: GenerationId::new(artifact.digest(), request.config),
            module_bytes: artifact.bytes().len(),
            number: request.number,
            code,
            log: Arc::new(GuestLog::new(
                request.stage,
                request.number,
                module,
                &request.limits,
            )),
            limits: request.limits,
            metrics: request.metrics,
        };
        let (_, manifest, traces) = generation
            .start()
            .await
            .map_err(|problem| load_error(problem, module))?;
        manifest::check(&manifest, traces).map_err(|problem| LoadError::Manifest {
            module: module.to_owned(),
            problem,
        })?;
        generation.log.name_plugin(&manifest.name);
        generation.manifest = manifest;
        Ok(generation)
    }

    /// Makes and configures one more instance, with the functions that only this crate's instances
    /// have.
    pub async fn instance(&self) -> Result<Instance, InstantiateError> {
        let (instance, manifest, _) = self.start().await.map_err(instantiate_error)?;
        // The pipeline routes and counts by the first manifest.
        if manifest != self.manifest {
            return Err(InstantiateError {
                message: "the plugin gave another manifest than before".to_owned(),
                source: None,
            });
        }
        Ok(instance)
    }

    /// Returns the sha256 of the plugin's bytes and of its config.
    pub fn digest(&self) -> Digest {
        self.identity.generation
    }

    /// Returns the sha256 of the plugin's bytes alone.
    pub fn module_digest(&self) -> Digest {
        self.identity.module
    }

    /// Returns the sha256 of the bytes, of the config, and of both.
    pub fn identity(&self) -> GenerationId {
        self.identity
    }

    /// Returns the number of the plugin's bytes.
    pub fn module_bytes_len(&self) -> usize {
        self.module_bytes
    }

    /// Returns the generation's number, from 1.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Returns the origin of the code.
    pub fn code(&self) -> CodeOrigin {
        self.code
    }

    /// Returns the plugin's own metrics.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Makes an instance and configures it. Returns its manifest, and true if it wants traces.
    async fn start(&self) -> Result<(Instance, Manifest, bool), StartFailure> {
        let limits = &self.limits;
        let mut store = store::new(self.engine.wasmtime(), limits, &self.log, &self.metrics);
        store::begin_call(&mut store, limits.configure_deadline);
        // The start functions of a guest run here, so a deadline applies to them as well.
        let made = tokio::time::timeout(
            limits.configure_deadline.saturating_mul(2),
            self.pre.instantiate_async(&mut store),
        )
        .await;
        let plugin = match made {
            Ok(Ok(plugin)) => plugin,
            Ok(Err(error)) if is_guests_fault(&error, store.data()) => {
                let fault = fault::of(&error, store.data(), limits, limits.configure_deadline);
                return Err(StartFailure::Faulted(fault));
            }
            Ok(Err(error)) => return Err(StartFailure::Instantiate(error)),
            Err(_) => {
                return Err(StartFailure::Faulted(fault::past(
                    limits.configure_deadline,
                )));
            }
        };
        let mut instance = Instance::new(limits.clone(), store, plugin);
        let answer = instance.configure(&self.config).await;
        let (manifest, traces) = answer
            .map_err(StartFailure::Faulted)?
            .map_err(StartFailure::Refused)?;
        Ok((instance, manifest, traces))
    }
}

impl stage::Generation for Generation {
    fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    fn number(&self) -> u64 {
        self.number
    }

    fn instantiate(&self) -> BoxFuture<'_, Result<Box<dyn stage::Instance>, InstantiateError>> {
        Box::pin(async {
            let instance = self.instance().await?;
            Ok(Box::new(instance) as Box<dyn stage::Instance>)
        })
    }
}

/// Returns true if the guest made the instantiation fail, rather than a missing slot.
fn is_guests_fault(error: &wasmtime::Error, guest: &Guest) -> bool {
    error.downcast_ref::<wasmtime::Trap>().is_some() || guest.limiter().denied_bytes().is_some()
}

fn load_error(problem: StartFailure, module: &str) -> LoadError {
    let module = module.to_owned();
    match problem {
        StartFailure::Instantiate(error) => LoadError::Instantiate {
            module,
            hint: instantiate_hint(&error),
            source: error.into(),
        },
        StartFailure::Faulted(source) => LoadError::Faulted { module, source },
        StartFailure::Refused(message) => LoadError::Configure { module, message },
    }
}

/// Returns the operator's remedy for an instance that could not be made.
fn instantiate_hint(error: &wasmtime::Error) -> &'static str {
    if error.is::<wasmtime::PoolConcurrencyLimitError>() {
        "all places for instances of this process are taken; end a canary or shadow, \
         wait until what was retired is gone, or run fewer shards"
    } else {
        "it does not fit a place in the pool of instances"
    }
}

fn instantiate_error(problem: StartFailure) -> InstantiateError {
    match problem {
        StartFailure::Instantiate(error) => InstantiateError {
            message: format!(
                "cannot instantiate the plugin: {}",
                instantiate_hint(&error)
            ),
            source: Some(error.into()),
        },
        StartFailure::Faulted(fault) => InstantiateError {
            message: "the plugin failed in `configure`".to_owned(),
            source: Some(fault.into()),
        },
        StartFailure::Refused(message) => InstantiateError {
            message: format!("the plugin refused its config: {message}"),
            source: None,
        },
    }
}
