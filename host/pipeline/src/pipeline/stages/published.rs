//! The stages as they were published last: anyone may read them at any time.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::plugin::{Generation, Input};
use crate::stage::rollout::sample::Sample;
use crate::stage::{Candidate, Comparison, Dispatch, Mode, StageSpec};

/// The stages as they were published last.
#[derive(Clone, Debug, Default)]
pub(super) struct PublishedStages {
    pub(super) specs: Vec<StageSpec>,
    /// The reports of the shards for each stage, by its name.
    pub(super) reports: BTreeMap<String, StageReports>,
    /// The number of shards that have the stages: the first ones.
    pub(super) shards: usize,
}

/// The sample and the comparisons of one stage, which all shards fill.
#[derive(Clone, Debug, Default)]
pub(super) struct StageReports {
    pub(super) sample: Arc<Sample>,
    /// One for each shard.
    pub(super) comparisons: Vec<Arc<Mutex<Comparison>>>,
}

impl StageReports {
    /// Returns the last real batch that went into the stage, if there was one lately.
    pub(super) fn sample(&self) -> Option<Input> {
        self.sample.get().map(Input::from)
    }

    /// Returns what the shards have seen of the shadow, together.
    pub(super) fn comparison(&self) -> Comparison {
        let mut sum = Comparison::default();
        for shard in &self.comparisons {
            let seen = shard.lock().clone();
            sum.join(seen);
        }
        sum
    }
}

impl PublishedStages {
    /// Returns the names of the stages, in order.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.specs.iter().map(|spec| spec.name.as_str())
    }

    /// Returns the stage of this name.
    pub(super) fn stage(&self, name: &str) -> Option<&StageSpec> {
        self.specs.iter().find(|spec| spec.name == name)
    }

    /// Returns true if a stage that stays among these has state that lies by the dispatch, so that
    /// traces must not go to other shards.
    pub(super) fn has_state_by_rule(&self, specs: &[StageSpec]) -> bool {
        let stays = |old: &&StageSpec| specs.iter().any(|spec| spec.name == old.name);
        let mut stay = self.specs.iter().filter(stays);
        stay.any(|old| old.generation.manifest().dispatch != Dispatch::Any)
    }

    /// Returns the names of these stages that get another generation.
    pub(super) fn swapped(&self, specs: &[StageSpec]) -> Vec<String> {
        let is_swapped = |spec: &&StageSpec| {
            let old = self.stage(&spec.name);
            old.is_some_and(|old| !Arc::ptr_eq(&old.generation, &spec.generation))
        };
        let swapped = specs.iter().filter(is_swapped);
        swapped.map(|spec| spec.name.clone()).collect()
    }

    /// Returns true if the generation of a stage has instances that judge the items they get: as
    /// the running one, or as a canary.
    pub(super) fn runs(&self, spec: &StageSpec) -> bool {
        let is_it = |generation: &Arc<dyn Generation>| Arc::ptr_eq(generation, &spec.generation);
        self.stage(&spec.name).is_some_and(|old| {
            let candidate = old.candidate.as_ref();
            let canary = candidate.filter(|candidate| matches!(candidate.mode, Mode::Canary(_)));
            is_it(&old.generation) || canary.is_some_and(|canary| is_it(&canary.generation))
        })
    }

    /// Returns true if the candidate of a stage already runs, in the same mode.
    pub(super) fn runs_candidate(&self, spec: &StageSpec) -> bool {
        let old = self
            .stage(&spec.name)
            .and_then(|old| old.candidate.as_ref());
        match (old, &spec.candidate) {
            (Some(old), Some(wanted)) => is_alike(old, wanted),
            _ => false,
        }
    }
}

fn is_alike(one: &Candidate, other: &Candidate) -> bool {
    let alike = matches!(
        (one.mode, other.mode),
        (Mode::Canary(_), Mode::Canary(_)) | (Mode::Shadow, Mode::Shadow)
    );
    alike && Arc::ptr_eq(&one.generation, &other.generation)
}
