//! The target of a change for one stage on one shard.

use std::sync::Arc;

use parking_lot::Mutex;

use super::comparison::Comparison;
use super::sample::Sample;
use crate::plugin::Instance;
use crate::stage::spec::StageSpec;

/// The state that a stage on one shard is to have, with every instance that it needs for that.
pub(crate) struct Target {
    /// The spec, with this shard's share of the limits.
    pub(crate) spec: Arc<StageSpec>,
    /// An instance, if the generation does not run here yet.
    pub(crate) instance: Option<Box<dyn Instance>>,
    /// An instance of the candidate, if it does not run here yet.
    pub(crate) candidate: Option<Box<dyn Instance>>,
    /// The batches that the stage sees, one at a time.
    pub(crate) sample: Arc<Sample>,
    /// The differences between a shadow and the running generation.
    pub(crate) comparison: Arc<Mutex<Comparison>>,
}
