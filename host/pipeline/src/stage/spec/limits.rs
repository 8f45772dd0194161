//! The limits of a stage, and its policy for a plugin that fails.

use std::time::Duration;

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

/// The limits at which a stage stops calling a plugin that keeps failing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BreakerConfig {
    /// The number of faults within `window` that opens the breaker.
    pub faults: u32,
    /// The time in which `faults` are counted.
    pub window: Duration,
    /// The time for which it stays open before one batch probes the plugin; each failed probe
    /// doubles it.
    pub open_for: Duration,
    /// The longest time for which it stays open.
    pub open_at_most: Duration,
}

impl Default for BreakerConfig {
    /// Five faults in ten seconds are not an accident; a second later the cause may be gone, and a
    /// minute bounds how long a plugin that works again stays idle.
    fn default() -> Self {
        Self {
            faults: 5,
            window: Duration::from_secs(10),
            open_for: Duration::from_secs(1),
            open_at_most: Duration::from_secs(60),
        }
    }
}
