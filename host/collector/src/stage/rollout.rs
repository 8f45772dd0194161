//! The generations of one stage: the running one, the previous one and the candidate.

mod watch;

use std::collections::{BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use spandrel_config::id::Id;
use spandrel_config::module::Place;
use spandrel_config::plugin_config::PluginConfig;
use spandrel_config::processor::Wasm;
use spandrel_pipeline::stage::{Beside, FaultPolicy, Mode, StageSpec};
use spandrel_plugin::artifact::Digest;
use spandrel_plugin::probation::Figures;
use spandrel_plugin::{Limits, Metrics, SignatureSource};
use tokio::time::Instant;

pub use self::watch::Watch;
pub(crate) use self::watch::{Probation, Reversal};
use crate::stage::missing::{MissingPlugin, StageGeneration};

/// The number of failed candidates of a stage whose digests are remembered, so that the watcher
/// does not load one again. It is more than anybody tries between two looks at the log.
const FAILED: usize = 32;

/// A missing plugin is requested again after 5 s, 10 s, ... up to 320 s.
const FIRST_WAIT: Duration = Duration::from_secs(5);
const MOST_DOUBLINGS: u32 = 6;

/// The place that a module's bytes came from.
#[derive(Clone, Debug)]
pub(crate) enum ModuleSource {
    /// The place that the configuration names, or another file on this machine.
    Place(Place),
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
    pub(crate) limits: Limits,
    /// The fate of the state of the generation before it.
    pub(crate) state: String,
}

impl LoadedPlugin {
    /// Makes the stand-in for a stage whose plugin is missing.
    pub(crate) fn missing(wasm: &Wasm) -> Self {
        let source = ModuleSource::Place(wasm.module.place.clone());
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

    pub(crate) fn sha256(&self) -> String {
        self.generation.identity().module.to_string()
    }
}

/// A generation beside the running one.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    pub(crate) loaded: LoadedPlugin,
    pub(crate) mode: Mode,
    pub(crate) since: Instant,
    /// The figures of the running generation when the candidate began.
    pub(crate) running_before: Figures,
    pub(crate) watch: Watch,
}

/// The running generation of a stage, the previous one and the candidate.
#[derive(Clone, Debug)]
pub(crate) struct Rollout {
    pub(crate) running: LoadedPlugin,
    /// The generation that a rollback brings back: the last one before the running one that was not
    /// itself on probation.
    pub(crate) previous: Option<LoadedPlugin>,
    pub(crate) candidate: Option<Candidate>,
    /// The probation of the running generation, while it lasts.
    pub(crate) probation: Option<Probation>,
    pub(crate) reversal: Option<Reversal>,
}

impl Rollout {
    /// Returns the lineup in which `loaded` replaces the running generation, which did `recent` in
    /// its last minute. `before` is what the new one has done already; `watch` says what counts as
    /// evidence against it.
    ///
    /// A generation that is on probation itself is no yardstick for another, and is not brought
    /// back by a rollback. The generation before it keeps both roles.
    pub(crate) fn published(
        &self,
        loaded: LoadedPlugin,
        before: Figures,
        recent: Figures,
        watch: Watch,
    ) -> Self {
        if self.running.generation.is_missing() {
            // A missing plugin is no yardstick and cannot be brought back.
            return Self {
                running: loaded,
                previous: None,
                candidate: None,
                probation: None,
                reversal: None,
            };
        }
        let (previous, yardstick) = match (&self.previous, self.probation) {
            (Some(proved), Some(probation)) => (proved.clone(), probation.yardstick),
            _ => (self.running.clone(), recent),
        };
        Self {
            running: loaded,
            previous: Some(previous),
            candidate: None,
            probation: (watch != Watch::Nothing).then(|| Probation {
                since: Instant::now(),
                before,
                yardstick,
                watch,
            }),
            reversal: None,
        }
    }

    /// Removes generations that may not run any more, so that no rollback or promotion brings one
    /// back. Returns the candidate, if it is one of those.
    pub(crate) fn keep_allowed(
        &mut self,
        is_allowed: impl Fn(Digest) -> bool,
    ) -> Option<Candidate> {
        let fits = |loaded: &LoadedPlugin| is_allowed(loaded.generation.identity().module);
        self.previous = self.previous.take().filter(fits);
        self.candidate.take_if(|candidate| !fits(&candidate.loaded))
    }

    /// Returns the lineup with a generation beside the running one.
    pub(crate) fn beside(
        &self,
        loaded: LoadedPlugin,
        mode: Mode,
        running_before: Figures,
        watch: Watch,
    ) -> Self {
        Self {
            candidate: Some(Candidate {
                loaded,
                mode,
                since: Instant::now(),
                running_before,
                watch,
            }),
            reversal: None,
            ..self.clone()
        }
    }
}

/// The interval of readings of the running generation's figures, and the number of readings that
/// are kept. Together they cover the minute before a swap.
pub(crate) const READ_EVERY: Duration = Duration::from_secs(10);
const READINGS: usize = 7;
/// The number of calls below which figures say little about the usual behaviour.
const ENOUGH_CALLS: u64 = 20;

/// A stage of the configuration, whichever pipelines it is in.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) id: Id,
    pub(crate) wasm: Arc<Wasm>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) rollout: Rollout,
    pub(crate) last_number: u64,
    /// The digest of the module that the configuration names, when it was last read; `None` before
    /// that.
    pub(crate) configured: Option<Digest>,
    /// Generation numbers with the figures at each reading, oldest first.
    readings: VecDeque<(u64, Figures)>,
    /// Digests of module and configuration of failed candidates, oldest first.
    failed: VecDeque<Digest>,
    /// The number of times that its plugin was missing.
    missed: u32,
}

impl Stage {
    pub(crate) fn new(
        id: Id,
        wasm: Arc<Wasm>,
        metrics: Arc<Metrics>,
        running: LoadedPlugin,
    ) -> Self {
        let digest = running.generation.identity().module;
        Self {
            id,
            wasm,
            metrics,
            last_number: running.number(),
            configured: (!running.generation.is_missing()).then_some(digest),
            rollout: Rollout {
                running,
                previous: None,
                candidate: None,
                probation: None,
                reversal: None,
            },
            readings: VecDeque::new(),
            failed: VecDeque::new(),
            missed: 0,
        }
    }

    /// Remembers what the running generation has done so far.
    pub(crate) fn read(&mut self, figures: Figures) {
        if self.readings.len() >= READINGS {
            self.readings.pop_front();
        }
        let number = self.rollout.running.number();
        self.readings.push_back((number, figures));
    }

    /// Returns what the running generation, which has done `figures` by now, did since the oldest
    /// reading.
    pub(crate) fn recent(&self, figures: Figures) -> Figures {
        let number = self.rollout.running.number();
        let mut readings = self.readings.iter();
        let oldest = readings.find(|(of, _)| *of == number);
        let recent = oldest.map(|(_, earlier)| figures.since(*earlier));
        // After a quiet minute its whole life is the better measure.
        recent
            .filter(|recent| recent.calls >= ENOUGH_CALLS)
            .unwrap_or(figures)
    }

    /// Takes the number for the next generation. A generation that fails keeps its number.
    pub(crate) fn next_number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    /// Gives back the number of a generation that was not needed after all. The next one gets it.
    pub(crate) fn give_back(&mut self, number: u64) {
        if self.last_number == number {
            self.last_number -= 1;
        }
    }

    pub(crate) fn has_failed(&self, generation: &Digest) -> bool {
        self.failed.contains(generation)
    }

    pub(crate) fn remember_failed(&mut self, generation: Digest) {
        if !self.has_failed(&generation) {
            if self.failed.len() >= FAILED {
                self.failed.pop_front();
            }
            self.failed.push_back(generation);
        }
    }

    /// Remembers the digest of a module that was just read, if it is the one that the configuration
    /// names.
    pub(crate) fn note_read(&mut self, source: &ModuleSource, module: Digest) {
        let configured = &self.wasm.module;
        let is_it = match source {
            ModuleSource::Upload { .. } => false,
            ModuleSource::Place(Place::File { path, .. }) => configured
                .file()
                .is_some_and(|file| absolute(file) == absolute(path)),
            ModuleSource::Place(place) => *place == configured.place,
        };
        if is_it {
            self.configured = Some(module);
        }
    }

    /// Returns true if its plugin is still missing.
    pub(crate) fn is_missing(&self) -> bool {
        self.rollout.running.generation.is_missing()
    }

    /// Returns the time to wait before its plugin is requested again.
    pub(crate) fn next_wait(&mut self) -> Duration {
        let wait = FIRST_WAIT.saturating_mul(1 << self.missed.min(MOST_DOUBLINGS));
        self.missed = self.missed.saturating_add(1);
        wait
    }

    /// Returns what a pipeline needs to know about the stage.
    pub(crate) fn spec(&self) -> StageSpec {
        let Rollout {
            running,
            candidate,
            probation,
            ..
        } = &self.rollout;
        let generation = running.generation.as_stage();
        let beside = candidate.as_ref().map(|candidate| Beside {
            generation: candidate.loaded.generation.as_stage(),
            mode: candidate.mode,
        });
        StageSpec {
            on_fault: match self.is_missing() {
                true => FaultPolicy::Pass,
                false => self.wasm.on_fault,
            },
            hold: self.wasm.hold,
            beside,
            on_probation: probation.is_some(),
            ..StageSpec::new(self.id.to_string(), generation)
        }
    }
}

/// Makes a path absolute, so that two ways to write the same path are equal. Links are not
/// resolved.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf())
}
