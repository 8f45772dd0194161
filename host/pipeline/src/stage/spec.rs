//! The config of a stage.

mod limits;
mod share;

use std::sync::Arc;

pub use self::limits::{BreakerConfig, FaultPolicy, HoldLimits};
pub use self::share::Share;
use crate::plugin::Generation;

/// A stage of a pipeline: plugin + config (the generation), limits, fault policy.
#[derive(Clone, Debug)]
pub struct StageSpec {
    /// The stage's name in the config.
    pub name: String,
    /// The loaded plugin with its config.
    pub generation: Arc<dyn Generation>,
    /// The policy for a batch on which the plugin fails.
    pub on_fault: FaultPolicy,
    /// The limits on what the plugin may hold.
    pub hold: HoldLimits,
    /// The limits at which the stage stops calling the plugin.
    pub breaker: BreakerConfig,
    /// A candidate that runs beside the generation.
    pub beside: Option<Beside>,
    /// True if the generation before this one may be called back: the state with which it ended is
    /// kept for that.
    pub on_probation: bool,
}

impl StageSpec {
    /// Makes a stage with the usual policy and limits.
    pub fn new(name: impl Into<String>, generation: Arc<dyn Generation>) -> Self {
        Self {
            name: name.into(),
            generation,
            on_fault: FaultPolicy::default(),
            hold: HoldLimits::default(),
            breaker: BreakerConfig::default(),
            beside: None,
            on_probation: false,
        }
    }

    /// Returns the generations that run: the stage's own, and its candidate.
    pub(crate) fn generations(&self) -> impl Iterator<Item = &Arc<dyn Generation>> {
        let candidate = self.beside.as_ref();
        let candidate = candidate.map(|candidate| &candidate.generation);
        std::iter::once(&self.generation).chain(candidate)
    }
}

/// A generation that runs beside the stage's own generation.
#[derive(Clone, Debug)]
pub struct Beside {
    /// The candidate.
    pub generation: Arc<dyn Generation>,
    /// The part of the traffic that it gets.
    pub mode: Mode,
}

/// The part of the traffic that a candidate gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// A share of the traces, which it judges in place of the running generation. It may hold as
    /// much as the running generation.
    Canary(Share),
    /// A copy of everything: its answers are compared and then discarded.
    Shadow,
}

/// The outcome for the state when one generation took over from another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Carried {
    /// The new generation has the state.
    Yes,
    /// The new generation has its own state that was kept from before.
    Earlier,
    /// There was no state.
    Nothing,
    /// The new generation does not have the state, for this reason; held items are offered to it as
    /// batches.
    Not(String),
}

impl Carried {
    /// Ranks the outcomes, from nothing to report to a reason to worry.
    pub(crate) fn rank(&self) -> u8 {
        match self {
            Self::Nothing => 0,
            Self::Yes => 1,
            Self::Earlier => 2,
            Self::Not(_) => 3,
        }
    }
}
