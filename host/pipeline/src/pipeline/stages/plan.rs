//! The plan of a change: the stages that each shard is to have, and the new instances for them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::StageContext;
use super::published::PublishedStages;
use super::shard_count::ShardCount;
use crate::pipeline::ChangeError;
use crate::plugin::{Generation, Instance};
use crate::stage::rollout::target::Target;
use crate::stage::{HoldLimits, Mode, StageSpec};

/// The targets of all shards, with every instance that is needed. Nothing has begun yet.
pub(super) struct StagePlan {
    /// The targets for each shard.
    pub(super) rows: Vec<Vec<Target>>,
    /// The stages once the plan is published.
    pub(super) published: PublishedStages,
}

impl StagePlan {
    /// Makes the plan from the published stages to those in `specs`; an error if an instance cannot
    /// be made.
    pub(super) async fn new(
        published: &PublishedStages,
        context: &StageContext,
        specs: Vec<StageSpec>,
        shards: ShardCount,
    ) -> Result<Self, ChangeError> {
        let mut all_reports = BTreeMap::new();
        let mut rows: Vec<Vec<Target>> = (0..shards.all).map(|_| Vec::new()).collect();
        for spec in &specs {
            let wanted = spec.candidate.as_ref();
            let (runs, runs_candidate) = (published.runs(spec), published.runs_candidate(spec));
            let known = published.reports.get(&spec.name);
            let mut reports = known.cloned().unwrap_or_default();
            if !runs_candidate && wanted.is_some_and(|wanted| wanted.mode == Mode::Shadow) {
                reports.comparisons.clear();
            }
            reports.comparisons.resize_with(shards.all, Arc::default);
            let shared = Arc::new(share(spec, shards.busy));
            let busy = rows.iter_mut().zip(&reports.comparisons).take(shards.busy);
            for (shard, (row, comparison)) in busy.enumerate() {
                let has_stages = shard < published.shards;
                let instance = match runs && has_stages {
                    true => None,
                    false => Some(instantiate(context, spec, &spec.generation).await?),
                };
                let candidate = match wanted.filter(|_| !(runs_candidate && has_stages)) {
                    None => None,
                    Some(wanted) => Some(instantiate(context, spec, &wanted.generation).await?),
                };
                row.push(Target {
                    spec: Arc::clone(&shared),
                    instance,
                    candidate,
                    sample: Arc::clone(&reports.sample),
                    comparison: Arc::clone(comparison),
                });
            }
            all_reports.insert(spec.name.clone(), reports);
        }
        let published = PublishedStages {
            specs,
            reports: all_reports,
            shards: shards.busy,
        };
        Ok(Self { rows, published })
    }
}

async fn instantiate(
    context: &StageContext,
    spec: &StageSpec,
    generation: &Arc<dyn Generation>,
) -> Result<Box<dyn Instance>, ChangeError> {
    let instance = generation.instantiate().await;
    instance.map_err(|source| ChangeError::Instantiate {
        pipeline: context.name.clone(),
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
