//! The number of shards that a change of the stages is planned for.

use crate::stage::{Dispatch, StageSpec};

/// The number of shards for which a plan is made.
#[derive(Clone, Copy, Debug)]
pub(super) struct ShardCount {
    pub(super) all: usize,
    /// The number of shards that get batches, the first ones. The others have no stages, and no
    /// share of the limits.
    pub(super) busy: usize,
}

impl ShardCount {
    /// Returns the number of shards that a pipeline without shards starts for these stages.
    pub(super) fn first(width: usize, specs: &[StageSpec], dispatch: Dispatch) -> Self {
        let all = if specs.is_empty() { 0 } else { width.max(1) };
        let busy = busy(dispatch, all);
        Self { all: busy, busy }
    }

    /// Returns the numbers for shards that run already.
    pub(super) fn running(all: usize, dispatch: Dispatch) -> Self {
        Self {
            all,
            busy: busy(dispatch, all),
        }
    }
}

/// Returns how many shards get batches by this dispatch.
fn busy(dispatch: Dispatch, all: usize) -> usize {
    match dispatch {
        Dispatch::Single => all.min(1),
        Dispatch::Any | Dispatch::ByTrace => all,
    }
}
