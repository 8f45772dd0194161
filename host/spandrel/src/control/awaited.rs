//! A stage whose plugin was not to be had when the collector started: batches pass it as they came,
//! counted as bypassed, until the plugin is there and is swapped in.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use spandrel_pipeline::stage::{
    self, DrainReason, Emission, Fault, FaultKind, Input, Instance, InstantiateError, Manifest,
    Reply, Ticket,
};
use spandrel_plugin::artifact::{Digest, Identity};
use spandrel_plugin::{Code, Generation};

/// What has a stage.
#[derive(Clone, Debug)]
pub(crate) enum Made {
    /// A plugin.
    Plugin(Arc<Generation>),
    /// Nothing yet.
    Awaited(Arc<Awaited>),
}

impl Made {
    pub(crate) fn is_awaited(&self) -> bool {
        matches!(self, Self::Awaited(_))
    }

    pub(crate) fn as_stage(&self) -> Arc<dyn stage::Generation> {
        match self {
            Self::Plugin(generation) => Arc::clone(generation) as Arc<_>,
            Self::Awaited(awaited) => Arc::clone(awaited) as Arc<_>,
        }
    }

    pub(crate) fn manifest(&self) -> &Manifest {
        match self {
            Self::Plugin(generation) => stage::Generation::manifest(&**generation),
            Self::Awaited(awaited) => &awaited.manifest,
        }
    }

    pub(crate) fn number(&self) -> u64 {
        match self {
            Self::Plugin(generation) => generation.number(),
            Self::Awaited(_) => 1,
        }
    }

    pub(crate) fn identity(&self) -> Identity {
        match self {
            Self::Plugin(generation) => generation.identity(),
            Self::Awaited(awaited) => awaited.identity,
        }
    }

    /// Of the module and its config together.
    pub(crate) fn digest(&self) -> Digest {
        self.identity().generation
    }

    /// Whether its code was compiled before.
    pub(crate) fn is_cached(&self) -> bool {
        matches!(self, Self::Plugin(generation) if generation.code() == Code::Cached)
    }
}

/// Stands for a plugin that is not there: every call of it is a fault, so that everything that holds
/// for a plugin that fails (the breaker, the counts, the log) holds for one that is missing.
#[derive(Debug)]
pub(crate) struct Awaited {
    manifest: Manifest,
    identity: Identity,
}

impl Awaited {
    /// For the plugin of this name, with this config.
    pub(crate) fn new(module: &str, config: &str) -> Self {
        // The digest of nothing that could be loaded: no module is its own name.
        let module = Digest::of(&[b"awaited ", module.as_bytes()]);
        Self {
            manifest: Manifest {
                name: "awaited".to_owned(),
                version: "-".to_owned(),
                ..Manifest::default()
            },
            identity: Identity::new(module, config),
        }
    }
}

impl stage::Generation for Awaited {
    fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    fn instantiate(&self) -> BoxFuture<'_, Result<Box<dyn Instance>, InstantiateError>> {
        Box::pin(std::future::ready(
            Ok(Box::new(Nobody) as Box<dyn Instance>),
        ))
    }
}

struct Nobody;

impl Instance for Nobody {
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
