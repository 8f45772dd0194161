//! A stage of the running collector: its generations, how one is loaded, and what became of it.

mod drift;
pub(crate) mod drift_report;
pub(crate) mod event;
pub(crate) mod load;
pub(crate) mod loaded;
mod missing;
pub(crate) mod probation;
pub(crate) mod readings;
mod redact;
pub(crate) mod rollout;
pub(crate) mod table;
pub(crate) mod view;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use spandrel_config::id::Id;
use spandrel_config::module::ModuleLocation;
use spandrel_config::processor::Wasm;
use spandrel_pipeline::stage::{Candidate as StageCandidate, FaultPolicy, StageSpec};
use spandrel_plugin::Metrics;
use spandrel_supply::Digest;

use self::loaded::{LoadedPlugin, ModuleSource};
use self::probation::Figures;
use self::readings::Readings;
pub use self::rollout::Watch;
use self::rollout::{Candidate, Rollout};

/// The number of failed candidates of a stage whose digests are remembered, so that the watcher
/// does not load one again. It is more than anybody tries between two looks at the log.
const FAILED: usize = 32;

/// A missing plugin is requested again after 5 s, 10 s, ... up to 320 s.
const FIRST_WAIT: Duration = Duration::from_secs(5);
const MOST_DOUBLINGS: u32 = 6;

/// A stage of the configuration, whichever pipelines it is in.
#[derive(Debug)]
pub(crate) struct Stage {
    id: Id,
    wasm: Arc<Wasm>,
    metrics: Arc<Metrics>,
    rollout: Rollout,
    last_number: u64,
    /// The digest of the module that the configuration names, when it was last read; `None` before
    /// that.
    configured: Option<Digest>,
    readings: Readings,
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
        Self {
            id,
            wasm,
            metrics,
            last_number: running.number(),
            configured: (!running.generation.is_missing()).then(|| running.module()),
            rollout: Rollout::new(running),
            readings: Readings::default(),
            failed: VecDeque::new(),
            missed: 0,
        }
    }

    pub(crate) fn id(&self) -> &Id {
        &self.id
    }

    /// Returns its section of the configuration.
    pub(crate) fn wasm(&self) -> &Arc<Wasm> {
        &self.wasm
    }

    pub(crate) fn set_wasm(&mut self, wasm: Arc<Wasm>) {
        self.wasm = wasm;
    }

    pub(crate) fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    pub(crate) fn rollout(&self) -> &Rollout {
        &self.rollout
    }

    /// Returns the running generation.
    pub(crate) fn running(&self) -> &LoadedPlugin {
        self.rollout.running()
    }

    /// Makes these its generations. Returns the ones before.
    pub(crate) fn replace_rollout(&mut self, rollout: Rollout) -> Rollout {
        std::mem::replace(&mut self.rollout, rollout)
    }

    /// Remembers the fate of the state when the running generation took over.
    pub(crate) fn set_state(&mut self, state: &str) {
        self.rollout.set_state(state);
    }

    /// Takes the section and the generation of another configuration. `recent` is what the running
    /// generation did in its last minute. Returns the candidate that may not run any more.
    pub(crate) fn renew(
        &mut self,
        wasm: Arc<Wasm>,
        loaded: LoadedPlugin,
        recent: Figures,
    ) -> Option<Candidate> {
        let before = std::mem::replace(&mut self.wasm, wasm);
        self.configured = Some(loaded.module());
        let running = self.running();
        let is_same = running.generation.digest() == loaded.generation.digest()
            && running.limits == loaded.limits;
        if is_same {
            self.give_back(loaded.number());
        } else {
            let none = Figures::default();
            self.rollout = self.rollout.with_running(loaded, none, recent, Watch::All);
        }
        let rules = &self.wasm.module;
        self.rollout
            .keep_allowed(|module| rules.still_allows(&before.module, module))
    }

    /// Remembers what the running generation has done so far.
    pub(crate) fn read(&mut self, figures: Figures) {
        self.readings.add(self.rollout.running().number(), figures);
    }

    /// Returns what the running generation, which has done `figures` by now, did in its last minute
    /// or so.
    pub(crate) fn recent(&self, figures: Figures) -> Figures {
        self.readings.recent(self.running().number(), figures)
    }

    /// Returns the number of its newest generation.
    pub(crate) fn last_number(&self) -> u64 {
        self.last_number
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
            ModuleSource::Place(ModuleLocation::File { path, .. }) => configured
                .file()
                .is_some_and(|file| absolute(file) == absolute(path)),
            ModuleSource::Place(place) => *place == configured.location,
        };
        if is_it {
            self.configured = Some(module);
        }
    }

    /// Returns the digest of the module that the configuration names, when it was last read.
    pub(crate) fn configured(&self) -> Option<Digest> {
        self.configured
    }

    pub(crate) fn set_configured(&mut self, module: Digest) {
        self.configured = Some(module);
    }

    /// Returns true if its plugin is still missing.
    pub(crate) fn is_missing(&self) -> bool {
        self.running().generation.is_missing()
    }

    /// Returns the time to wait before its plugin is requested again.
    pub(crate) fn next_wait(&mut self) -> Duration {
        let wait = FIRST_WAIT.saturating_mul(1 << self.missed.min(MOST_DOUBLINGS));
        self.missed = self.missed.saturating_add(1);
        wait
    }

    /// Returns what a pipeline needs to know about the stage.
    pub(crate) fn spec(&self) -> StageSpec {
        let generation = self.running().generation.as_stage();
        let candidate = self.rollout.candidate();
        let candidate = candidate.map(|candidate| StageCandidate {
            generation: candidate.loaded.generation.as_stage(),
            mode: candidate.mode,
        });
        StageSpec {
            on_fault: match self.is_missing() {
                true => FaultPolicy::Pass,
                false => self.wasm.on_fault,
            },
            hold: self.wasm.hold,
            candidate,
            on_probation: self.rollout.probation().is_some(),
            ..StageSpec::new(self.id.to_string(), generation)
        }
    }
}

/// Makes a path absolute, so that two ways to write the same path are equal. Links are not
/// resolved.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf())
}
