//! Builds a candidate beside the running generation: loads it, then probes it on an instance of its
//! own. Nothing here touches what runs.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use spandrel_config::id::Id;
use spandrel_config::module::ModuleLocation;
use spandrel_config::plugin_config::PluginConfig;
use spandrel_config::plugins::Plugins;
use spandrel_config::processor::Wasm;
use spandrel_pipeline::stage::{Input, ProbeError, ProbeReport, State, probe};
use spandrel_plugin::{Engine, Generation, LoadError, LoadRequest, Metrics};
use spandrel_supply::{
    ArtifactSource, CompileLimits, Digest, FetchError, FetchRequest, FetchSetupError,
    FetchedModule, Fetcher, InstanceLimits, PublicKey, RemoteSignature, RemoteSource,
    SignaturePolicy, SignatureSource, Url,
};

use crate::stage::loaded::{LoadedPlugin, ModuleSource};
use crate::stage::missing::StageGeneration;

/// The inputs of a build. Owns what it needs, so that what runs can change meanwhile.
#[derive(Clone, Debug)]
pub(crate) struct LoadPlan {
    engine: Engine,
    stage: String,
    number: u64,
    source: ModuleSource,
    pinned: Option<Digest>,
    /// The keys of which one must have signed it, if it must be signed.
    keys: Option<Arc<[PublicKey]>>,
    /// The trusted comment that the signature must have.
    trusted_comment: Option<Arc<str>>,
    /// The rules on where plugins may come from and how they are compiled.
    plugins: Arc<Plugins>,
    config: PluginConfig,
    /// JSON pointers to the values of `config` that may be secrets.
    hidden: Arc<BTreeSet<String>>,
    limits: InstanceLimits,
    metrics: Arc<Metrics>,
    /// The input of the probe; `None` while nothing runs.
    probe_input: Option<ProbeInput>,
}

/// A state and a sample of the work of the running generation.
#[derive(Clone, Debug, Default)]
pub(crate) struct ProbeInput {
    pub(crate) state: Option<State>,
    pub(crate) sample: Option<Input>,
}

/// The reason why there is no candidate.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StageLoadError {
    /// The plugin does not load.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The plugin could not be fetched.
    #[error("cannot fetch plugin `{module}`")]
    Fetch {
        module: String,
        #[source]
        source: FetchError,
    },
    /// Fetching could not be set up.
    #[error("plugins cannot be fetched")]
    Setup(#[from] FetchSetupError),
    /// The plugin loads, and fails its probe.
    #[error("generation {number} of stage `{stage}` failed its probe")]
    Probe {
        stage: String,
        number: u64,
        #[source]
        source: ProbeError,
        /// The digest of the generation, so that it is recognised next time.
        identity: Digest,
    },
}

impl StageLoadError {
    /// Returns the digest of a generation that failed by its own fault, so that it is recognised
    /// next time.
    pub(crate) fn failed(&self) -> Option<Digest> {
        match self {
            Self::Probe {
                source: ProbeError::Failed { .. },
                identity,
                ..
            } => Some(*identity),
            Self::Probe { .. } | Self::Load(_) | Self::Fetch { .. } | Self::Setup(_) => None,
        }
    }

    /// Returns true if it may become available later without any change here.
    pub(crate) fn is_unreachable(&self) -> bool {
        matches!(self, Self::Fetch { source, .. } if source.is_unreachable())
    }
}

/// A candidate that works as far as a probe can tell.
#[derive(Debug)]
pub(crate) struct ProbedPlugin {
    pub(crate) loaded: LoadedPlugin,
    pub(crate) probed: ProbeReport,
}

impl LoadPlan {
    /// Plans generation `number` of a stage as its section of the configuration says, without a
    /// probe.
    pub(crate) fn new(
        engine: &Engine,
        plugins: &Arc<Plugins>,
        stage: &Id,
        number: u64,
        wasm: &Wasm,
        metrics: &Arc<Metrics>,
    ) -> Self {
        Self {
            engine: engine.clone(),
            stage: stage.to_string(),
            number,
            source: ModuleSource::Place(wasm.module.location.clone()),
            pinned: wasm.module.sha256,
            keys: wasm.module.keys.clone(),
            trusted_comment: wasm.module.trusted_comment.clone(),
            plugins: Arc::clone(plugins),
            config: wasm.config.clone(),
            hidden: Arc::clone(&wasm.hidden),
            limits: wasm.limits.clone(),
            metrics: Arc::clone(metrics),
            probe_input: None,
        }
    }

    /// Returns the number of the generation.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Takes the module from another place. It must have the digest `pinned`, if there is one.
    pub(crate) fn with_module(mut self, source: ModuleSource, pinned: Option<Digest>) -> Self {
        self.source = source;
        self.pinned = pinned;
        self
    }

    /// Loads the module without its signature: it was admitted before, and the signature may not
    /// be available any more.
    pub(crate) fn without_signature(mut self) -> Self {
        self.keys = None;
        self
    }

    /// Configures the plugin otherwise. `hidden` has JSON pointers to values that may be secrets.
    pub(crate) fn with_config(
        mut self,
        config: PluginConfig,
        hidden: Arc<BTreeSet<String>>,
    ) -> Self {
        self.config = config;
        self.hidden = hidden;
        self
    }

    /// Probes the generation with a state and a sample of the work of the running one.
    pub(crate) fn with_probe(mut self, input: ProbeInput) -> Self {
        self.probe_input = Some(input);
        self
    }

    /// Loads and probes. The time is bounded by the limits on fetching, compiling, configuring and
    /// calling.
    pub(crate) async fn build(self) -> Result<ProbedPlugin, StageLoadError> {
        let name = self.source.name();
        let (bytes, signature, fetched) = self.get().await?;
        let module = match &bytes {
            At::File(path) => ArtifactSource::File(path),
            At::Here(bytes) => ArtifactSource::Bytes {
                name: &name,
                bytes: bytes.clone(),
            },
        };
        let comment = self.trusted_comment;
        let signature_policy = self.keys.map(|keys| SignaturePolicy {
            keys,
            comment,
            signature,
        });
        let limits = self.limits;
        let generation = Generation::load(
            &self.engine,
            LoadRequest {
                stage: &self.stage,
                number: self.number,
                module,
                pinned: self.pinned,
                signature_policy,
                config: self.config.as_str(),
                limits: limits.clone(),
                compile: CompileLimits {
                    // At the start there is no other work to give way to.
                    background: self.probe_input.is_some(),
                    ..self.plugins.compile
                },
                metrics: self.metrics,
            },
        );
        let generation = Arc::new(generation.await?);
        let probed = match self.probe_input {
            None => ProbeReport::default(),
            Some(ProbeInput { state, sample }) => {
                let limits = spandrel_wire::Limits::default();
                let probed = probe(&*generation, state, sample, &limits).await;
                probed.map_err(|source| StageLoadError::Probe {
                    stage: self.stage,
                    number: self.number,
                    source,
                    identity: generation.identity().generation,
                })?
            }
        };
        if let Some(fetched) = fetched {
            fetched.keep().await;
        }
        let loaded = LoadedPlugin {
            generation: StageGeneration::Plugin(generation),
            source: self.source,
            config: self.config,
            hidden: self.hidden,
            loaded_at: SystemTime::now(),
            limits,
            state: "none".to_owned(),
        };
        Ok(ProbedPlugin { loaded, probed })
    }

    /// Returns the place of the module's bytes, fetched to this machine if need be, and its
    /// signature.
    async fn get(&self) -> Result<(At, SignatureSource, Option<FetchedModule>), StageLoadError> {
        match &self.source {
            ModuleSource::Place(ModuleLocation::File { path, signature }) => {
                Ok((At::File(path.clone()), signature.clone(), None))
            }
            ModuleSource::Upload { bytes, signature } => {
                Ok((At::Here(bytes.clone()), signature.clone(), None))
            }
            ModuleSource::Place(ModuleLocation::Remote {
                source, signature, ..
            }) => self.fetch(source, signature.as_ref()).await,
        }
    }

    async fn fetch(
        &self,
        source: &RemoteSource,
        signature: Option<&Url>,
    ) -> Result<(At, SignatureSource, Option<FetchedModule>), StageLoadError> {
        let settings = self.plugins.fetch.clone();
        let request = FetchRequest {
            source: source.clone(),
            sha256: self.pinned,
            signature: self.keys.as_ref().map(|_| match signature {
                Some(url) => RemoteSignature::Url(url.clone()),
                None => RemoteSignature::Beside,
            }),
        };
        let fetched = Fetcher::new(settings)?.fetch(&request).await;
        let fetched = fetched.map_err(|source| StageLoadError::Fetch {
            module: request.source.to_string(),
            source,
        })?;
        let text = fetched.signature.as_deref();
        let signature = text.map_or(SignatureSource::Missing, |text| {
            SignatureSource::Text(String::from_utf8_lossy(text).into())
        });
        Ok((At::Here(fetched.module.clone()), signature, Some(fetched)))
    }
}

/// The place of a module's bytes.
enum At {
    File(PathBuf),
    Here(Bytes),
}
