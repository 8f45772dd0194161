//! The measurements of one trial, from which its report is made.

mod samples;

use std::sync::Arc;
use std::time::Duration;

use crate::backend::Count;
use crate::collector::CollectorExit;
use crate::load::{LoadPlan, PhaseResult};
use crate::process::Memory;
pub(crate) use samples::Samples;

/// The measurements of one trial.
#[derive(Debug)]
pub(crate) struct Measurements {
    pub(crate) plan: Arc<LoadPlan>,
    pub(crate) load: PhaseResult,
    pub(crate) samples: Samples,
    pub(crate) count: Count,
    pub(crate) idle: Option<Memory>,
    pub(crate) peak: Option<Memory>,
    pub(crate) ready_after: Option<Duration>,
    /// The number of plugin calls that failed meanwhile, if the collector says it.
    pub(crate) faults: Option<u64>,
    pub(crate) exit: Option<CollectorExit>,
}
