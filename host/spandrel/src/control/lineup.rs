//! What one stage runs, ran before, and tries out.

mod watch;

use std::collections::{BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use spandrel_pipeline::stage::{Beside, FaultPolicy, Mode, StageSpec};
use spandrel_plugin::artifact::Digest;
use spandrel_plugin::probation::Figures;
use spandrel_plugin::{Limits, Metrics, SignatureSource};
use tokio::time::Instant;

pub(crate) use self::watch::{Probation, Undone, Watch};
use super::awaited::{Awaited, Made};
use crate::config::id::Id;
use crate::config::module::Place;
use crate::config::plugin_config::PluginConfig;
use crate::config::processor::Wasm;

/// Digests of candidates that failed are remembered, so that the watcher does not load one again:
/// this many of a stage, more than anybody tries between two looks at the log.
const FAILED: usize = 32;

/// A plugin that was not to be had is asked for again after 5 s, 10 s, ... up to five minutes.
const FIRST_WAIT: Duration = Duration::from_secs(5);
const MOST_DOUBLINGS: u32 = 6;

/// Where a module's bytes came from.
#[derive(Clone, Debug)]
pub(crate) enum ModuleSource {
    /// What the configuration names, or another file on this machine.
    Place(Place),
    /// They came with a request; kept for as long as the generation is, for another of the same
    /// plugin with another configuration: nobody else has them.
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
pub(crate) struct Loaded {
    pub(crate) generation: Made,
    pub(crate) source: ModuleSource,
    pub(crate) config: PluginConfig,
    /// JSON pointers to the values of `config` that may be secrets.
    pub(crate) hidden: Arc<BTreeSet<String>>,
    pub(crate) loaded_at: SystemTime,
    /// What each instance may use.
    pub(crate) limits: Limits,
    /// What became of the state of the generation before it.
    pub(crate) state: String,
}

impl Loaded {
    /// What has a stage whose plugin was not to be had.
    pub(crate) fn awaited(wasm: &Wasm) -> Self {
        let source = ModuleSource::Place(wasm.module.place.clone());
        let awaited = Awaited::new(&source.name(), wasm.config.as_str());
        Self {
            generation: Made::Awaited(Arc::new(awaited)),
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
    pub(crate) loaded: Loaded,
    pub(crate) mode: Mode,
    pub(crate) since: Instant,
    /// What the running generation had done before.
    pub(crate) running_before: Figures,
    pub(crate) watch: Watch,
}

/// Who has the stage, who had it, and who may have it.
#[derive(Clone, Debug)]
pub(crate) struct Lineup {
    pub(crate) running: Loaded,
    /// What a rollback brings back: the last generation before the running one that was not itself on
    /// probation.
    pub(crate) previous: Option<Loaded>,
    pub(crate) candidate: Option<Candidate>,
    /// Of the running generation, while it lasts.
    pub(crate) probation: Option<Probation>,
    pub(crate) undone: Option<Undone>,
}

impl Lineup {
    /// The lineup with another generation in the place of the running one, which did `recent` in its
    /// last minute. `before` is what the new one has done already, `watch` how it is looked after.
    ///
    /// A generation that is on probation itself is no measure for another, and nothing to bring back:
    /// the one before it stays that.
    pub(crate) fn published(
        &self,
        loaded: Loaded,
        before: Figures,
        recent: Figures,
        watch: Watch,
    ) -> Self {
        if self.running.generation.is_awaited() {
            // Nothing to be compared with, and nothing to bring back.
            return Self {
                running: loaded,
                previous: None,
                candidate: None,
                probation: None,
                undone: None,
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
            undone: None,
        }
    }

    /// The lineup without what may not run any more: nothing that a rollback or a promotion would
    /// bring back. Returns the candidate, if it is one of those.
    pub(crate) fn keep_allowed(
        &mut self,
        is_allowed: impl Fn(Digest) -> bool,
    ) -> Option<Candidate> {
        let fits = |loaded: &Loaded| is_allowed(loaded.generation.identity().module);
        self.previous = self.previous.take().filter(fits);
        self.candidate.take_if(|candidate| !fits(&candidate.loaded))
    }

    /// The lineup with a generation beside the running one.
    pub(crate) fn beside(
        &self,
        loaded: Loaded,
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
            undone: None,
            ..self.clone()
        }
    }
}

/// A reading of the running generation's figures is taken so often, and so many are kept: together
/// they cover the minute before a swap.
pub(crate) const READ_EVERY: Duration = Duration::from_secs(10);
const READINGS: usize = 7;
/// Fewer calls say little of what is usual.
const ENOUGH_CALLS: u64 = 20;

/// A stage of the configuration, whichever pipelines it stands in.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) id: Id,
    pub(crate) wasm: Arc<Wasm>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) lineup: Lineup,
    pub(crate) last_number: u64,
    /// The module that the configuration names, as it was read last; none before that.
    pub(crate) configured: Option<Digest>,
    /// What the generation with this number had done, oldest first.
    readings: VecDeque<(u64, Figures)>,
    /// Module and configuration of what failed, oldest first.
    failed: VecDeque<Digest>,
    /// How often its plugin was not to be had.
    missed: u32,
}

impl Stage {
    pub(crate) fn new(id: Id, wasm: Arc<Wasm>, metrics: Arc<Metrics>, running: Loaded) -> Self {
        let digest = running.generation.identity().module;
        Self {
            id,
            wasm,
            metrics,
            last_number: running.number(),
            configured: (!running.generation.is_awaited()).then_some(digest),
            lineup: Lineup {
                running,
                previous: None,
                candidate: None,
                probation: None,
                undone: None,
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
        let number = self.lineup.running.number();
        self.readings.push_back((number, figures));
    }

    /// What the running generation, which has done `figures` by now, did since the oldest reading.
    pub(crate) fn recent(&self, figures: Figures) -> Figures {
        let number = self.lineup.running.number();
        let mut readings = self.readings.iter();
        let oldest = readings.find(|(of, _)| *of == number);
        let recent = oldest.map(|(_, earlier)| figures.since(*earlier));
        // After a quiet minute its whole life is the better measure.
        recent
            .filter(|recent| recent.calls >= ENOUGH_CALLS)
            .unwrap_or(figures)
    }

    /// The number of the next generation. One that fails keeps its number.
    pub(crate) fn next_number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    /// The generation of this number was not wanted after all: the next one gets it.
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

    /// The module of this digest was read just now; remembers it, if it is the one that the
    /// configuration names.
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

    /// Whether its plugin is still to come.
    pub(crate) fn is_awaited(&self) -> bool {
        self.lineup.running.generation.is_awaited()
    }

    /// How long to wait before its plugin is asked for again.
    pub(crate) fn missed_again(&mut self) -> Duration {
        let wait = FIRST_WAIT.saturating_mul(1 << self.missed.min(MOST_DOUBLINGS));
        self.missed = self.missed.saturating_add(1);
        wait
    }

    /// What a pipeline is told of it.
    pub(crate) fn spec(&self) -> StageSpec {
        let Lineup {
            running,
            candidate,
            probation,
            ..
        } = &self.lineup;
        let generation = running.generation.as_stage();
        let beside = candidate.as_ref().map(|candidate| Beside {
            generation: candidate.loaded.generation.as_stage(),
            mode: candidate.mode,
        });
        StageSpec {
            on_fault: match self.is_awaited() {
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

/// A path as everybody would write it who names the same file, links apart.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf())
}
