//! One loaded plugin (bytes + config) of a stage: it makes instances.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use spandrel_pipeline::stage::{self, Fault, InstantiateError, Manifest};

use crate::abi::{self, v0_1};
use crate::artifact::{Digest, Identity};
use crate::cache::Code;
use crate::engine::Engine;
use crate::error::LoadError;
use crate::instance::Instance;
use crate::limits::Limits;
use crate::load::{self, Load, Loaded};
use crate::log::GuestLog;
use crate::metrics::Metrics;
use crate::store::{self, Guest};
use crate::{fault, text};

/// The number of drop reasons that a verdict byte has room for, besides keep, hold and undisposed,
/// rounded down.
const DROP_REASONS: usize = 250;
/// The longest name in a manifest: names become labels of metrics.
const NAME_BYTES: usize = 128;
/// The shortest tick interval. Ticks run between batches; with a shorter interval, a shard would do
/// nothing else.
const TICK_INTERVAL: Duration = Duration::from_millis(10);

/// A plugin that was compiled, checked and configured once.
pub struct Generation {
    engine: Engine,
    pre: v0_1::PluginPre<Guest>,
    manifest: Manifest,
    config: String,
    identity: Identity,
    module_bytes: usize,
    number: u64,
    code: Code,
    limits: Limits,
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

/// The reason why there is no instance.
enum NotReady {
    Instantiate(wasmtime::Error),
    Faulted(Fault),
    Refused(String),
}

impl Generation {
    /// Reads, compiles (or takes from the cache), checks, and configures one instance to learn the
    /// manifest. Compiles on threads of its own.
    pub async fn load(engine: &Engine, load: Load<'_>) -> Result<Self, LoadError> {
        let Loaded {
            component,
            artifact,
            code,
        } = load::compile(engine, &load).await?;
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
            config: load.config.to_owned(),
            identity: Identity::new(artifact.digest(), load.config),
            module_bytes: artifact.bytes().len(),
            number: load.number,
            code,
            log: Arc::new(GuestLog::new(load.stage, load.number, module, &load.limits)),
            limits: load.limits,
            metrics: load.metrics,
        };
        let (_, manifest, traces) = generation
            .configured()
            .await
            .map_err(|problem| load_error(problem, module))?;
        check_manifest(&manifest, traces).map_err(|problem| LoadError::Manifest {
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
        let (instance, manifest, _) = self.configured().await.map_err(instantiate_error)?;
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
    pub fn identity(&self) -> Identity {
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
    pub fn code(&self) -> Code {
        self.code
    }

    /// Returns the plugin's own metrics.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    async fn configured(&self) -> Result<(Instance, Manifest, bool), NotReady> {
        let limits = &self.limits;
        let mut store = store::new(&self.engine, limits, &self.log, &self.metrics);
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
                return Err(NotReady::Faulted(fault));
            }
            Ok(Err(error)) => return Err(NotReady::Instantiate(error)),
            Err(_) => return Err(NotReady::Faulted(fault::past(limits.configure_deadline))),
        };
        let mut instance = Instance::new(limits.clone(), store, plugin);
        let answer = instance.configure(&self.config).await;
        let (manifest, traces) = answer
            .map_err(NotReady::Faulted)?
            .map_err(NotReady::Refused)?;
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

fn load_error(problem: NotReady, module: &str) -> LoadError {
    let module = module.to_owned();
    match problem {
        NotReady::Instantiate(error) => LoadError::Instantiate {
            module,
            hint: instantiate_hint(&error),
            source: error.into(),
        },
        NotReady::Faulted(source) => LoadError::Faulted { module, source },
        NotReady::Refused(message) => LoadError::Configure { module, message },
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

fn instantiate_error(problem: NotReady) -> InstantiateError {
    match problem {
        NotReady::Instantiate(error) => InstantiateError {
            message: format!(
                "cannot instantiate the plugin: {}",
                instantiate_hint(&error)
            ),
            source: Some(error.into()),
        },
        NotReady::Faulted(fault) => InstantiateError {
            message: "the plugin failed in `configure`".to_owned(),
            source: Some(fault.into()),
        },
        NotReady::Refused(message) => InstantiateError {
            message: format!("the plugin refused its config: {message}"),
            source: None,
        },
    }
}

/// Returns the first rule of the contract that a manifest breaks.
fn check_manifest(manifest: &Manifest, traces: bool) -> Result<(), String> {
    check_name("the plugin's name", &manifest.name)?;
    check_name("the plugin's version", &manifest.version)?;
    if !traces {
        return Err("`signals` must contain traces, the only signal that plugins see".to_owned());
    }
    if let Some(interval) = manifest.tick_interval
        && interval < TICK_INTERVAL
    {
        return Err(format!(
            "a tick interval of {} ms is too short: 0 for none, or at least {}",
            interval.as_millis(),
            TICK_INTERVAL.as_millis()
        ));
    }
    if manifest.drop_reasons.len() > DROP_REASONS {
        return Err(format!(
            "{} drop reasons are too many: at most {DROP_REASONS}",
            manifest.drop_reasons.len()
        ));
    }
    let mut seen = BTreeSet::new();
    for reason in &manifest.drop_reasons {
        check_name("a drop reason", reason)?;
        if !seen.insert(reason) {
            return Err(format!(
                "the drop reason `{}` is there twice",
                text::printable(reason, NAME_BYTES)
            ));
        }
    }
    Ok(())
}

fn check_name(what: &str, name: &str) -> Result<(), String> {
    let shown = text::printable(name, NAME_BYTES);
    if name.is_empty() || shown != name {
        return Err(format!(
            "{what} is \"{shown}\": it must be 1 to {NAME_BYTES} printable bytes"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use spandrel_pipeline::stage::Manifest;

    use super::check_manifest;

    fn good() -> Manifest {
        Manifest {
            name: "tag".to_owned(),
            version: "1.0.0".to_owned(),
            drop_reasons: vec!["health".to_owned(), "noise".to_owned()],
            ..Manifest::default()
        }
    }

    fn problem(change: impl FnOnce(&mut Manifest)) -> String {
        let mut manifest = good();
        change(&mut manifest);
        check_manifest(&manifest, true).expect_err("refused")
    }

    /// Each rule of a manifest has its own message.
    #[test]
    fn each_rule_of_a_manifest_has_its_message() {
        assert_eq!(check_manifest(&good(), true), Ok(()));
        assert_eq!(
            check_manifest(&good(), false),
            Err("`signals` must contain traces, the only signal that plugins see".to_owned())
        );
        assert_eq!(
            problem(|manifest| manifest.name.clear()),
            "the plugin's name is \"\": it must be 1 to 128 printable bytes"
        );
        assert_eq!(
            problem(|manifest| "a\nb".clone_into(&mut manifest.version)),
            "the plugin's version is \"a\\nb\": it must be 1 to 128 printable bytes"
        );
        assert_eq!(
            problem(|manifest| manifest.tick_interval = Some(Duration::from_millis(9))),
            "a tick interval of 9 ms is too short: 0 for none, or at least 10"
        );
        assert_eq!(
            problem(|manifest| manifest.drop_reasons.push("health".to_owned())),
            "the drop reason `health` is there twice"
        );
        assert_eq!(
            problem(|manifest| manifest.drop_reasons = (0..251).map(|n| n.to_string()).collect()),
            "251 drop reasons are too many: at most 250"
        );
    }
}
