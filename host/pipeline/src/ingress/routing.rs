//! The routing: the rule by which batches are dealt out to the shards.

use tokio::sync::mpsc;

use crate::shard::Task;
use crate::stage::Dispatch;

/// A place in a shard's input.
pub(crate) type LanePermit = mpsc::OwnedPermit<Task>;

/// The senders to the shards, and the dispatch rule.
#[derive(Debug, Default)]
pub(crate) struct Routing {
    /// Empty if there are no stages, and once the pipeline drains.
    lanes: Vec<mpsc::Sender<Task>>,
    dispatch: Dispatch,
    /// True if the shards are told to end: there is no way in.
    released: bool,
}

impl Routing {
    pub(crate) fn new(lanes: Vec<mpsc::Sender<Task>>, dispatch: Dispatch) -> Self {
        Self {
            lanes,
            dispatch,
            released: false,
        }
    }

    /// Makes a routing without a way in.
    pub(crate) fn released() -> Self {
        Self {
            released: true,
            ..Self::default()
        }
    }

    pub(crate) fn is_released(&self) -> bool {
        self.released
    }

    pub(crate) fn lanes(&self) -> &[mpsc::Sender<Task>] {
        &self.lanes
    }

    pub(crate) fn dispatch(&self) -> Dispatch {
        self.dispatch
    }

    pub(crate) fn set_dispatch(&mut self, dispatch: Dispatch) {
        self.dispatch = dispatch;
    }

    /// Returns copies of both, to be kept for a while.
    pub(crate) fn parts(&self) -> (Vec<mpsc::Sender<Task>>, Dispatch) {
        (self.lanes.clone(), self.dispatch)
    }
}
