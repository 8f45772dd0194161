//! A stage: a plugin's instances as the pipeline sees them.
//!
//! The pipeline knows plugins only by the two traits of `crate::plugin`, which are public here. A
//! batch comes to a [`StageSlot`](rollout::slot::StageSlot), which has the running generation and
//! perhaps a candidate:
//!
//! ```text
//! rollout   which generation gets a batch: slot, canary, shadow, succession, probe
//!    |
//!   run     calls an instance, checks its reply, applies it: runner, breaker, failed batches
//!    |
//!  held     the items that the plugin holds
//! ```

mod held;
pub(crate) mod rollout;
pub(crate) mod run;
mod spec;

pub use self::rollout::comparison::{Comparison, Difference, Said, Seen};
pub use self::rollout::probe::{ProbeError, Probed, probe};
pub(crate) use self::run::failed_batches::ATTEMPTS;
pub use self::run::schedule::HOUSEKEEPING;
pub use self::spec::{
    Beside, BreakerConfig, Carried, FaultPolicy, HoldLimits, Mode, Share, StageSpec,
};
pub use crate::plugin::{
    Dispatch, DrainReason, Emission, Fault, FaultKind, Generation, Input, Instance,
    InstantiateError, Manifest, NewReads, Reply, State, Ticket,
};
