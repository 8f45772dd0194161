//! What a shard is told beside its batches, in order with them.

use std::time::Duration;

use tokio::sync::oneshot;

use crate::stage::place::Target;
use crate::stage::{Carried, State};

/// An order to a shard.
pub(crate) enum Order {
    /// Become this row of stages.
    Change {
        targets: Vec<Target>,
        done: oneshot::Sender<Changed>,
    },
    /// A copy of the state of one stage's instance, for a probe.
    Snapshot {
        stage: String,
        reply: oneshot::Sender<Option<State>>,
    },
    /// Say that it has come to this.
    Ping { done: oneshot::Sender<()> },
}

/// How a shard changed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Changed {
    /// How long it took no batches.
    pub(crate) pause: Duration,
    /// Each stage whose generation changed, with what became of the state.
    pub(crate) carried: Vec<(String, Carried)>,
}
