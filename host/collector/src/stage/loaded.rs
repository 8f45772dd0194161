//! A generation of a stage, and what it was made of.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use spandrel_config::id::Id;
use spandrel_config::module::ModuleLocation;
use spandrel_config::plugin_config::PluginConfig;
use spandrel_config::processor::Wasm;
use spandrel_supply::{Digest, InstanceLimits, SignatureSource};
use tokio::time::Instant;
use tracing::info;

use crate::stage::missing::{MissingPlugin, StageGeneration};
use crate::time_text::millis;

/// The place that a module's bytes came from.
#[derive(Clone, Debug)]
pub(crate) enum ModuleSource {
    /// The place that the configuration names, or another file on this machine.
    Place(ModuleLocation),
    /// They came with a request. They are kept as long as the generation, because nobody else has
    /// them: the same plugin may be wanted again with another configuration.
    Upload {
        bytes: Bytes,
        signature: SignatureSource,
    },
}

impl ModuleSource {
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Place(place) => place.to_string(),
            Self::Upload { .. } => "upload".to_owned(),
        }
    }
}

/// A generation, and what it was made of.
#[derive(Clone, Debug)]
pub(crate) struct LoadedPlugin {
    pub(crate) generation: StageGeneration,
    pub(crate) source: ModuleSource,
    pub(crate) config: PluginConfig,
    /// JSON pointers to the values of `config` that may be secrets.
    pub(crate) hidden: Arc<BTreeSet<String>>,
    pub(crate) loaded_at: SystemTime,
    /// The limits of each instance.
    pub(crate) limits: InstanceLimits,
    /// The fate of the state of the generation before it.
    pub(crate) state: String,
}

impl LoadedPlugin {
    /// Makes the stand-in for a stage whose plugin is missing.
    pub(crate) fn missing(wasm: &Wasm) -> Self {
        let source = ModuleSource::Place(wasm.module.location.clone());
        let missing = MissingPlugin::new(&source.name(), wasm.config.as_str());
        Self {
            generation: StageGeneration::MissingPlugin(Arc::new(missing)),
            source,
            config: wasm.config.clone(),
            hidden: Arc::clone(&wasm.hidden),
            loaded_at: SystemTime::now(),
            limits: wasm.limits.clone(),
            state: "none".to_owned(),
        }
    }

    pub(crate) fn number(&self) -> u64 {
        self.generation.number()
    }

    /// Returns the digest of its module.
    pub(crate) fn module(&self) -> Digest {
        self.generation.identity().module
    }

    /// Returns the digest of its module as text.
    pub(crate) fn sha256(&self) -> String {
        self.module().to_string()
    }

    /// Logs that it was loaded, even if it never runs.
    pub(crate) fn log(&self, stage: &Id, started: Instant) {
        let generation = &self.generation;
        let manifest = generation.manifest();
        let identity = generation.identity();
        info!(
            stage = %stage,
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
}
