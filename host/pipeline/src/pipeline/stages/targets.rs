//! The target for each shard: the stages that it is to have, and the new instances for them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::{Terms, View};
use crate::pipeline::ChangeError;
use crate::stage::rollout::sample::Sample;
use crate::stage::rollout::slot::Target;
use crate::stage::{Beside, Comparison, Generation, HoldLimits, Instance, Mode, StageSpec};

/// The sample and the comparisons of one stage, which all shards fill.
#[derive(Clone, Debug, Default)]
pub(super) struct Shown {
    pub(super) sample: Arc<Sample>,
    /// One for each shard.
    comparisons: Vec<Arc<Mutex<Comparison>>>,
}

impl Shown {
    /// Returns what the shards have seen of the shadow, together.
    pub(super) fn comparison(&self) -> Comparison {
        let mut sum = Comparison::default();
        for shard in &self.comparisons {
            let seen = shard.lock().unwrap_or_else(PoisonError::into_inner).clone();
            sum.join(seen);
        }
        sum
    }
}

/// The targets of all shards, with every instance that is needed. Nothing has begun yet.
pub(super) struct Plan {
    /// The targets for each shard.
    pub(super) rows: Vec<Vec<Target>>,
    /// The view once the plan is published.
    pub(super) view: View,
}

/// The number of shards for which a plan is made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shards {
    pub(super) all: usize,
    /// The number of shards that get batches, the first ones. The others have no stages, and no
    /// share of the limits.
    pub(super) busy: usize,
}

impl View {
    /// Makes the plan from these stages to those in `specs`; an error if an instance cannot be
    /// made.
    pub(super) async fn plan(
        &self,
        terms: &Terms,
        specs: Vec<StageSpec>,
        shards: Shards,
    ) -> Result<Plan, ChangeError> {
        let mut shows = BTreeMap::new();
        let mut rows: Vec<Vec<Target>> = (0..shards.all).map(|_| Vec::new()).collect();
        for spec in &specs {
            let old = self.specs.iter().find(|old| old.name == spec.name);
            let runs = old.is_some_and(|old| runs(old, &spec.generation));
            let wanted = spec.beside.as_ref();
            let is_beside =
                wanted.is_some_and(|wanted| old.is_some_and(|old| is_beside(old, wanted)));
            let mut shown = self.shown.get(&spec.name).cloned().unwrap_or_default();
            if !is_beside && wanted.is_some_and(|wanted| wanted.mode == Mode::Shadow) {
                shown.comparisons.clear();
            }
            shown.comparisons.resize_with(shards.all, Arc::default);
            let shared = Arc::new(share(spec, shards.busy));
            let busy = rows.iter_mut().zip(&shown.comparisons).take(shards.busy);
            for (shard, (row, comparison)) in busy.enumerate() {
                let has_any = shard < self.shards;
                let instance = match runs && has_any {
                    true => None,
                    false => Some(instantiate(terms, spec, &spec.generation).await?),
                };
                let candidate = match wanted.filter(|_| !(is_beside && has_any)) {
                    None => None,
                    Some(beside) => Some(instantiate(terms, spec, &beside.generation).await?),
                };
                row.push(Target {
                    spec: Arc::clone(&shared),
                    instance,
                    candidate,
                    sample: Arc::clone(&shown.sample),
                    comparison: Arc::clone(comparison),
                });
            }
            shows.insert(spec.name.clone(), shown);
        }
        let view = Self {
            specs,
            shown: shows,
            shards: shards.busy,
        };
        Ok(Plan { rows, view })
    }
}

/// Returns true if a generation has instances that judge the items they get: the running one, or a
/// canary.
fn runs(old: &StageSpec, generation: &Arc<dyn Generation>) -> bool {
    let canary = old.beside.as_ref().is_some_and(|beside| {
        matches!(beside.mode, Mode::Canary(_)) && Arc::ptr_eq(&beside.generation, generation)
    });
    canary || Arc::ptr_eq(&old.generation, generation)
}

/// Returns true if a candidate already runs, in the same mode.
fn is_beside(old: &StageSpec, wanted: &Beside) -> bool {
    old.beside.as_ref().is_some_and(|beside| {
        let alike = matches!(
            (beside.mode, wanted.mode),
            (Mode::Canary(_), Mode::Canary(_)) | (Mode::Shadow, Mode::Shadow)
        );
        alike && Arc::ptr_eq(&beside.generation, &wanted.generation)
    })
}

async fn instantiate(
    terms: &Terms,
    spec: &StageSpec,
    generation: &Arc<dyn Generation>,
) -> Result<Box<dyn Instance>, ChangeError> {
    let instance = generation.instantiate().await;
    instance.map_err(|source| ChangeError::Instantiate {
        pipeline: terms.name.clone(),
        stage: spec.name.clone(),
        source,
    })
}

/// Returns the stage with one shard's share of its limits.
fn share(stage: &StageSpec, shards: usize) -> StageSpec {
    let HoldLimits { items, bytes, time } = stage.hold;
    let shards = shards.max(1);
    let hold = HoldLimits {
        items: (items / shards as u64).max(1),
        bytes: (bytes / shards).max(1),
        time,
    };
    StageSpec {
        hold,
        ..stage.clone()
    }
}
