//! A stage: a plugin's instances as the pipeline sees them.
//!
//! The pipeline knows plugins only by the two traits of `crate::plugin`, which are public here. A
//! batch comes to a `StageSlot`, which has the running generation and
//! perhaps a candidate:
//!
//! ```text
//! rollout   which generation gets a batch: slot, canary, shadow, succession, probe
//!    |
//!   run     calls an instance, checks its reply, applies it: runner, breaker, failed batches
//!    |
//!  held     the items that the plugin holds
//! ```

mod cpu_time;
mod held;
pub(crate) mod rollout;
pub(crate) mod run;
mod spec;

pub use self::rollout::comparison::{Comparison, Difference, DifferenceCount, Outcome};
pub use self::rollout::probe::{ProbeError, ProbeReport, probe};
pub(crate) use self::run::failed_batches::ATTEMPTS;
pub use self::run::schedule::HOUSEKEEPING;
pub use self::spec::{
    BreakerConfig, Candidate, FaultPolicy, HoldLimits, Mode, Share, StageSpec, StateTransfer,
};
pub use crate::plugin::{
    Dispatch, DrainReason, Emission, Fault, FaultKind, Generation, Input, Instance,
    InstantiateError, Manifest, NewReads, Reply, State, Ticket,
};
