//! What one stage runs, ran before, and tries out.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use spandrel_pipeline::stage::{Beside, Mode, StageSpec};
use spandrel_plugin::artifact::Digest;
use spandrel_plugin::probation::Figures;
use spandrel_plugin::{Generation, Metrics};
use tokio::time::Instant;

use crate::config::id::Id;
use crate::config::processor::Wasm;

/// Digests of candidates that failed are remembered, so that the watcher does not load one again:
/// this many of a stage, more than anybody tries between two looks at the log.
const FAILED: usize = 32;

/// Where a module's bytes came from.
#[derive(Clone, Debug)]
pub(crate) enum ModuleSource {
    /// The file that the configuration names, or another on this machine.
    File(PathBuf),
    /// They came with a request; kept for as long as the generation is, for another of the same
    /// plugin with another configuration: nobody else has them.
    Upload(Bytes),
}

impl ModuleSource {
    pub(crate) fn name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Upload(_) => "upload".to_owned(),
        }
    }
}

/// A generation, and what it was made of.
#[derive(Clone, Debug)]
pub(crate) struct Loaded {
    pub(crate) generation: Arc<Generation>,
    pub(crate) source: ModuleSource,
    pub(crate) config: Arc<serde_json::Value>,
    pub(crate) loaded_at: SystemTime,
    /// What became of the state of the generation before it.
    pub(crate) state: String,
}

impl Loaded {
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
}

/// Who has the stage, who had it, and who may have it.
#[derive(Clone, Debug)]
pub(crate) struct Lineup {
    pub(crate) running: Loaded,
    /// What a rollback brings back.
    pub(crate) previous: Option<Loaded>,
    pub(crate) candidate: Option<Candidate>,
    /// Of the running generation, while it lasts.
    pub(crate) probation: Option<Probation>,
}

/// A generation is watched.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Probation {
    pub(crate) since: Instant,
    /// What it had done before: as a shadow, for one.
    pub(crate) before: Figures,
}

impl Probation {
    /// Of a generation that has done this much already.
    pub(crate) fn begin(before: Figures) -> Self {
        Self {
            since: Instant::now(),
            before,
        }
    }
}

impl Lineup {
    /// The lineup with another generation: in the place of the running one, or beside it.
    pub(crate) fn with(&self, loaded: Loaded, mode: Option<Mode>) -> Self {
        let mut lineup = self.clone();
        match mode {
            Some(mode) => {
                lineup.candidate = Some(Candidate {
                    loaded,
                    mode,
                    since: Instant::now(),
                });
            }
            None => {
                lineup.previous = Some(std::mem::replace(&mut lineup.running, loaded));
                lineup.candidate = None;
                lineup.probation = Some(Probation::begin(Figures::default()));
            }
        }
        lineup
    }
}

/// A stage of the configuration, whichever pipelines it stands in.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) id: Id,
    pub(crate) wasm: Arc<Wasm>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) lineup: Lineup,
    pub(crate) last_number: u64,
    /// Module and configuration of what failed, oldest first.
    failed: VecDeque<Digest>,
}

impl Stage {
    pub(crate) fn new(id: Id, wasm: Arc<Wasm>, metrics: Arc<Metrics>, running: Loaded) -> Self {
        Self {
            id,
            wasm,
            metrics,
            last_number: running.number(),
            lineup: Lineup {
                running,
                previous: None,
                candidate: None,
                probation: None,
            },
            failed: VecDeque::new(),
        }
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

    /// What a pipeline is told of it.
    pub(crate) fn spec(&self) -> StageSpec {
        let Lineup {
            running,
            candidate,
            probation,
            ..
        } = &self.lineup;
        let generation = Arc::clone(&running.generation) as Arc<_>;
        let beside = candidate.as_ref().map(|candidate| Beside {
            generation: Arc::clone(&candidate.loaded.generation) as Arc<_>,
            mode: candidate.mode,
        });
        StageSpec {
            on_fault: self.wasm.on_fault,
            hold: self.wasm.hold,
            beside,
            on_probation: probation.is_some(),
            ..StageSpec::new(self.id.to_string(), generation)
        }
    }
}
