//! What the config says of a stage.

use std::sync::Arc;
use std::time::Duration;

use super::{BreakerConfig, Generation};

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
}
