//! The state that the next generation takes over: the waiting traces, and the decisions.
//!
//! The handles of the held spans stay valid, because the host has the spans.

use serde::{Deserialize, Serialize};
use spandrel_guest::state::{from_bytes, to_bytes, unreadable};

use crate::decisions::{Decided, Decisions};
use crate::waiting::{Carried, Traces, Waiting};

pub(crate) const VERSION: u32 = 2;

/// The state. `T` contains the traces, or a reference to them.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct State<T> {
    #[serde(with = "spandrel_guest::state::flat")]
    elder: Vec<Decided>,
    #[serde(with = "spandrel_guest::state::flat")]
    younger: Vec<Decided>,
    waiting: T,
}

pub(crate) fn write(waiting: &Waiting, decisions: &Decisions) -> Option<Vec<u8>> {
    let [elder, younger] = decisions.remembered();
    to_bytes(&State {
        elder,
        younger,
        waiting: waiting.carried(),
    })
}

pub(crate) fn read(version: u32, state: &[u8]) -> Result<State<Carried<Traces>>, String> {
    if version != VERSION {
        return Err(unreadable(version, VERSION));
    }
    from_bytes(state)
}

impl State<Carried<Traces>> {
    /// Adds the state to the one of an instance.
    pub(crate) fn add_to(self, waiting: &mut Waiting, decisions: &mut Decisions) {
        decisions.add(&[self.elder, self.younger]);
        waiting.take_over(self.waiting);
    }
}
