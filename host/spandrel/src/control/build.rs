//! A candidate is built beside the running generation: loaded, then probed on an instance of its
//! own. Nothing here touches what runs.

use std::sync::Arc;
use std::time::SystemTime;

use spandrel_pipeline::stage::{Input, ProbeError, Probed, State, probe};
use spandrel_plugin::artifact::Digest;
use spandrel_plugin::{
    CompileLimits, Engine, Generation, Limits, Load, LoadError, Metrics, Module,
};

use super::lineup::{Loaded, ModuleSource};

/// What to build. Owns what it needs, so that what runs can change meanwhile.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) engine: Engine,
    pub(crate) stage: String,
    pub(crate) number: u64,
    pub(crate) source: ModuleSource,
    pub(crate) pinned: Option<Digest>,
    pub(crate) config: Arc<serde_json::Value>,
    pub(crate) limits: Limits,
    pub(crate) metrics: Arc<Metrics>,
    /// What a probe is done with; none while nothing runs.
    pub(crate) evidence: Option<Evidence>,
}

/// What the running generation shows of its work.
#[derive(Clone, Debug, Default)]
pub(crate) struct Evidence {
    pub(crate) state: Option<State>,
    pub(crate) sample: Option<Input>,
}

/// Why there is no candidate.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BuildError {
    /// It does not load.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// It loads, and fails.
    #[error("generation {number} of stage `{stage}` failed its probe")]
    Probe {
        stage: String,
        number: u64,
        #[source]
        source: ProbeError,
        /// What it is, so that it is known again.
        identity: Digest,
    },
}

impl BuildError {
    /// What failed by its own fault, to be known again.
    pub(crate) fn failed(&self) -> Option<Digest> {
        match self {
            Self::Probe {
                source: ProbeError::Failed { .. },
                identity,
                ..
            } => Some(*identity),
            Self::Probe { .. } | Self::Load(_) => None,
        }
    }
}

/// A candidate that works as far as a probe can tell.
#[derive(Debug)]
pub(crate) struct Built {
    pub(crate) loaded: Loaded,
    pub(crate) probed: Probed,
}

impl Plan {
    /// Loads and probes. Bounded by the limits on compiling, configuring and calling.
    pub(crate) async fn build(self) -> Result<Built, BuildError> {
        let config = self.config.to_string();
        let limits = self.limits;
        let module = match &self.source {
            ModuleSource::File(path) => Module::from(path),
            ModuleSource::Upload(bytes) => Module::Bytes {
                name: "upload",
                bytes: bytes.clone(),
            },
        };
        let generation = Generation::load(
            &self.engine,
            Load {
                stage: &self.stage,
                number: self.number,
                module,
                pinned: self.pinned,
                config: &config,
                limits: limits.clone(),
                compile: CompileLimits {
                    // At the start nothing else is to be done.
                    background: self.evidence.is_some(),
                    ..CompileLimits::default()
                },
                metrics: self.metrics,
            },
        );
        let generation = Arc::new(generation.await?);
        let probed = match self.evidence {
            None => Probed::default(),
            Some(Evidence { state, sample }) => {
                let limits = spandrel_wire::Limits::default();
                let probed = probe(&*generation, state, sample, &limits).await;
                probed.map_err(|source| BuildError::Probe {
                    stage: self.stage,
                    number: self.number,
                    source,
                    identity: generation.identity().generation,
                })?
            }
        };
        let loaded = Loaded {
            generation,
            source: self.source,
            config: self.config,
            loaded_at: SystemTime::now(),
            limits,
            state: "none".to_owned(),
        };
        Ok(Built { loaded, probed })
    }
}
