//! A stage whose plugin was missing when the collector started. Batches pass it unchanged, counted
//! as bypassed, until the plugin is there and is swapped in.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use spandrel_pipeline::stage::{
    self, DrainReason, Emission, Fault, FaultKind, Input, Instance, InstantiateError, Manifest,
    Reply, Ticket,
};
use spandrel_plugin::{CodeOrigin, Generation, GenerationId};
use spandrel_supply::Digest;

/// A stage's generation: a plugin, or a stand-in for one that is awaited.
#[derive(Clone, Debug)]
pub(crate) enum StageGeneration {
    /// A plugin.
    Plugin(Arc<Generation>),
    /// A plugin that is not there yet.
    MissingPlugin(Arc<MissingPlugin>),
}

impl StageGeneration {
    pub(crate) fn is_missing(&self) -> bool {
        matches!(self, Self::MissingPlugin(_))
    }

    pub(crate) fn as_stage(&self) -> Arc<dyn stage::Generation> {
        match self {
            Self::Plugin(generation) => Arc::clone(generation) as Arc<_>,
            Self::MissingPlugin(missing) => Arc::clone(missing) as Arc<_>,
        }
    }

    pub(crate) fn manifest(&self) -> &Manifest {
        match self {
            Self::Plugin(generation) => stage::Generation::manifest(&**generation),
            Self::MissingPlugin(missing) => &missing.manifest,
        }
    }

    pub(crate) fn number(&self) -> u64 {
        match self {
            Self::Plugin(generation) => generation.number(),
            Self::MissingPlugin(_) => 1,
        }
    }

    pub(crate) fn identity(&self) -> GenerationId {
        match self {
            Self::Plugin(generation) => generation.identity(),
            Self::MissingPlugin(missing) => missing.identity,
        }
    }

    /// Returns the digest of the module and its config together.
    pub(crate) fn digest(&self) -> Digest {
        self.identity().generation
    }

    /// Returns true if its code was compiled before.
    pub(crate) fn is_cached(&self) -> bool {
        matches!(self, Self::Plugin(generation) if generation.code() == CodeOrigin::Cached)
    }
}

/// A stand-in for a missing plugin. Every call of it is a fault, so a missing plugin is treated
/// like one that fails, by the breaker, the counts and the log.
#[derive(Debug)]
pub(crate) struct MissingPlugin {
    manifest: Manifest,
    identity: GenerationId,
}

impl MissingPlugin {
    /// Makes the stand-in for the plugin of this name, with this config.
    pub(crate) fn new(module: &str, config: &str) -> Self {
        // This digest matches no module that could be loaded, because no module's bytes are this
        // text.
        let module = Digest::of_parts(&[b"awaited ", module.as_bytes()]);
        Self {
            manifest: Manifest {
                name: "awaited".to_owned(),
                version: "-".to_owned(),
                ..Manifest::default()
            },
            identity: GenerationId::new(module, config),
        }
    }
}

impl stage::Generation for MissingPlugin {
    fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    fn instantiate(&self) -> BoxFuture<'_, Result<Box<dyn Instance>, InstantiateError>> {
        Box::pin(std::future::ready(Ok(
            Box::new(MissingInstance) as Box<dyn Instance>
        )))
    }
}

struct MissingInstance;

impl Instance for MissingInstance {
    fn process<'a>(
        &'a mut self,
        _ticket: Ticket,
        _input: &'a Input,
    ) -> BoxFuture<'a, Result<Reply, Fault>> {
        let fault = Fault::new(FaultKind::Trap, "the plugin is not there yet");
        Box::pin(std::future::ready(Err(fault)))
    }

    fn tick(&mut self) -> BoxFuture<'_, Result<Emission, Fault>> {
        Box::pin(std::future::ready(Ok(Emission::default())))
    }

    fn drain(
        &mut self,
        _reason: DrainReason,
        _deadline: Duration,
    ) -> BoxFuture<'_, Result<Emission, Fault>> {
        Box::pin(std::future::ready(Ok(Emission::default())))
    }
}
