//! The orders that a shard gets beside its batches, in sequence with them.

use std::time::Duration;

use tokio::sync::oneshot;

use crate::plugin::State;
use crate::stage::Carried;
use crate::stage::rollout::target::Target;

/// An order to a shard.
pub(crate) enum Order {
    /// Makes the shard become this row of stages.
    Change {
        targets: Vec<Target>,
        done: oneshot::Sender<ChangeReport>,
    },
    /// Asks for a copy of the state of one stage's instance, for a probe.
    Snapshot {
        stage: String,
        reply: oneshot::Sender<Option<State>>,
    },
    /// Makes the shard say that it has come to this order.
    Ping { done: oneshot::Sender<()> },
}

/// The report of a shard on a change.
#[derive(Clone, Debug, Default)]
pub(crate) struct ChangeReport {
    /// The time for which it took no batches.
    pub(crate) pause: Duration,
    /// The outcome for the state of each stage whose generation changed.
    pub(crate) carried: Vec<(String, Carried)>,
}
