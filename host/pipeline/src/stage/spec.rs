//! What the config says of a stage.

use std::sync::Arc;
use std::time::Duration;

use super::{BreakerConfig, Generation, Share};

/// What happens to a batch on which the plugin fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FaultPolicy {
    /// It goes on as it came, counted as bypassed.
    #[default]
    Pass,
    /// It is dropped, with the reason `fault`.
    Drop,
    /// The sender is told to retry. Items that were accepted before (held ones) go on as they are.
    Refuse,
}

impl FaultPolicy {
    /// The word in the config.
    pub fn label(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Drop => "drop",
            Self::Refuse => "refuse",
        }
    }

    /// How an operator keeps items from passing without a judgement.
    pub(crate) fn remedy(self) -> &'static str {
        match self {
            Self::Pass => "`on_fault: refuse` lets senders retry, `on_fault: drop` drops them",
            Self::Refuse => "these were accepted before; `on_fault: drop` drops them as well",
            Self::Drop => "",
        }
    }
}

/// How much a stage's plugin may hold, over all shards. At a limit the plugin is asked to let go;
/// what is over the limit after that goes on, or is dropped under [`FaultPolicy::Drop`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HoldLimits {
    /// Items.
    pub items: u64,
    /// Bytes, as the host stores them.
    pub bytes: usize,
    /// Since the item came in.
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
    /// Its name in the config.
    pub name: String,
    /// The loaded plugin with its config.
    pub generation: Arc<dyn Generation>,
    /// What happens to a batch on which it fails.
    pub on_fault: FaultPolicy,
    /// How much it may hold.
    pub hold: HoldLimits,
    /// When to stop calling it.
    pub breaker: BreakerConfig,
    /// A candidate that runs beside the generation.
    pub beside: Option<Beside>,
    /// Whether the generation before this one may be called back: the state with which it ended is
    /// kept for that.
    pub on_probation: bool,
}

impl StageSpec {
    /// A stage with the usual policy and limits.
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

/// A generation that runs beside the one that has the stage.
#[derive(Clone, Debug)]
pub struct Beside {
    /// The candidate.
    pub generation: Arc<dyn Generation>,
    /// What it gets.
    pub mode: Mode,
}

/// What a candidate gets of the traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// A share of the traces, which it judges in place of the running generation. It may hold as
    /// much as that may.
    Canary(Share),
    /// A copy of everything: what it says is compared, and nothing comes of it.
    Shadow,
}

/// What became of the state when one generation took over from another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Carried {
    /// The new one has it.
    Yes,
    /// The new one has the state of its own that was kept from before.
    Earlier,
    /// There was none.
    Nothing,
    /// The new one does not have it, for this reason; what was held is offered to it as a batch.
    Not(String),
}

impl Carried {
    /// From nothing to tell to something to worry about.
    pub(crate) fn rank(&self) -> u8 {
        match self {
            Self::Nothing => 0,
            Self::Yes => 1,
            Self::Earlier => 2,
            Self::Not(_) => 3,
        }
    }
}
