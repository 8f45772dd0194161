//! Builds a candidate beside the running generation: loads it, then probes it on an instance of its
//! own. Nothing here touches what runs.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use spandrel_config::module::Place;
use spandrel_config::plugin_config::PluginConfig;
use spandrel_config::plugins::Plugins;
use spandrel_fetch::{
    FetchError, Fetched, Fetcher, SetupError, SignatureFrom, Source, Url, Wanted,
};
use spandrel_pipeline::stage::{Input, ProbeError, Probed, State, probe};
use spandrel_plugin::artifact::Digest;
use spandrel_plugin::{
    CompileLimits, Engine, Generation, Limits, Load, LoadError, Metrics, Module, PublicKey,
    SignatureSource, Signing,
};

use crate::stage::missing::StageGeneration;
use crate::stage::rollout::{LoadedPlugin, ModuleSource};

/// The inputs of a build. Owns what it needs, so that what runs can change meanwhile.
#[derive(Clone, Debug)]
pub(crate) struct LoadPlan {
    pub(crate) engine: Engine,
    pub(crate) stage: String,
    pub(crate) number: u64,
    pub(crate) source: ModuleSource,
    pub(crate) pinned: Option<Digest>,
    /// The keys of which one must have signed it, if it must be signed.
    pub(crate) keys: Option<Arc<[PublicKey]>>,
    /// The trusted comment that the signature must have.
    pub(crate) trusted_comment: Option<Arc<str>>,
    /// The rules on where plugins may come from and how they are compiled.
    pub(crate) plugins: Arc<Plugins>,
    pub(crate) config: PluginConfig,
    /// JSON pointers to the values of `config` that may be secrets.
    pub(crate) hidden: Arc<BTreeSet<String>>,
    pub(crate) limits: Limits,
    pub(crate) metrics: Arc<Metrics>,
    /// The input of the probe; `None` while nothing runs.
    pub(crate) probe_input: Option<ProbeInput>,
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
    Setup(#[from] SetupError),
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
    pub(crate) probed: Probed,
}

impl LoadPlan {
    /// Loads and probes. The time is bounded by the limits on fetching, compiling, configuring and
    /// calling.
    pub(crate) async fn build(self) -> Result<ProbedPlugin, StageLoadError> {
        let name = self.source.name();
        let (bytes, signature, fetched) = self.get().await?;
        let module = match &bytes {
            At::File(path) => Module::File(path),
            At::Here(bytes) => Module::Bytes {
                name: &name,
                bytes: bytes.clone(),
            },
        };
        let comment = self.trusted_comment;
        let signing = self.keys.map(|keys| Signing {
            keys,
            comment,
            signature,
        });
        let limits = self.limits;
        let generation = Generation::load(
            &self.engine,
            Load {
                stage: &self.stage,
                number: self.number,
                module,
                pinned: self.pinned,
                signing,
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
            None => Probed::default(),
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
    async fn get(&self) -> Result<(At, SignatureSource, Option<Fetched>), StageLoadError> {
        match &self.source {
            ModuleSource::Place(Place::File { path, signature }) => {
                Ok((At::File(path.clone()), signature.clone(), None))
            }
            ModuleSource::Upload { bytes, signature } => {
                Ok((At::Here(bytes.clone()), signature.clone(), None))
            }
            ModuleSource::Place(Place::Remote {
                source, signature, ..
            }) => self.fetch(source, signature.as_ref()).await,
        }
    }

    async fn fetch(
        &self,
        source: &Source,
        signature: Option<&Url>,
    ) -> Result<(At, SignatureSource, Option<Fetched>), StageLoadError> {
        let settings = self.plugins.fetch.clone();
        let sha256 = self.pinned.map(|digest| spandrel_fetch::Digest(digest.0));
        let wanted = Wanted {
            source: source.clone(),
            sha256,
            signature: self.keys.as_ref().map(|_| match signature {
                Some(url) => SignatureFrom::Url(url.clone()),
                None => SignatureFrom::Beside,
            }),
        };
        let fetched = Fetcher::new(settings)?.fetch(&wanted).await;
        let fetched = fetched.map_err(|source| StageLoadError::Fetch {
            module: wanted.source.to_string(),
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
