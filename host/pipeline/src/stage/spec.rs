//! The config of a stage.

use std::sync::Arc;
use std::time::Duration;

use super::{BreakerConfig, Generation, Share};

/// The policy for a batch on which the plugin fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FaultPolicy {
    /// The batch goes on as it came, counted as bypassed.
    #[default]
    Pass,
    /// The batch is dropped, with the reason `fault`.
    Drop,
    /// The sender is told to retry. Items that were accepted before (held ones) go on as they are.
    Refuse,
}

impl FaultPolicy {
    /// Returns the word in the config.
    pub fn label(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Drop => "drop",
            Self::Refuse => "refuse",
        }
    }

    /// Returns the way in which an operator keeps items from passing without a judgement.
    pub(crate) fn remedy(self) -> &'static str {
        match self {
            Self::Pass => "`on_fault: refuse` lets senders retry, `on_fault: drop` drops them",
            Self::Refuse => "these were accepted before; `on_fault: drop` drops them as well",
            Self::Drop => "",
        }
    }
}

/// The limits on what a stage's plugin may hold, over all shards. At a limit the plugin is asked to
/// let go; items that are still over the limit go on, or are dropped under [`FaultPolicy::Drop`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HoldLimits {
    /// The number of items.
    pub items: u64,
    /// The number of bytes, as the host stores them.
    pub bytes: usize,
    /// The longest time since the item came in.
    pub time: Duration,
}

impl Default for HoldLimits {
    /// Half a minute of 10,000 spans a second at 700 bytes, the load at which a tail sampler with
    /// its usual decision wait still works, with room to spare in time.
    fn default() -> Self {
        Self {
            items: 400_000,
            bytes: 256 << 20,
            time: Duration::from_secs(120),
        }
    }
}

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
