//! What the next generation takes over: the traces that wait, and the judgements.
//!
//! The held spans' names keep their meaning: the spans are the host's.

use serde::{Deserialize, Serialize};
use spandrel_guest::state::{from_bytes, to_bytes, unreadable};

use crate::decisions::{Decided, Decisions};
use crate::trace::{Trace, TraceId};
use crate::waiting::Waiting;

pub(crate) const VERSION: u32 = 2;

/// The state: of traces, or of references to them.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct State<T> {
    #[serde(with = "spandrel_guest::state::flat")]
    elder: Vec<Decided>,
    #[serde(with = "spandrel_guest::state::flat")]
    younger: Vec<Decided>,
    waiting: Vec<(TraceId, T)>,
}

pub(crate) fn write(waiting: &Waiting, decisions: &Decisions) -> Option<Vec<u8>> {
    let [elder, younger] = decisions.remembered();
    to_bytes(&State {
        elder,
        younger,
        waiting: waiting.iter().map(|(id, trace)| (*id, trace)).collect(),
    })
}

pub(crate) fn read(version: u32, state: &[u8]) -> Result<State<Trace>, String> {
    if version != VERSION {
        return Err(unreadable(version, VERSION));
    }
    from_bytes(state)
}

impl State<Trace> {
    /// Adds it all to what an instance has.
    pub(crate) fn add_to(self, waiting: &mut Waiting, decisions: &mut Decisions) {
        decisions.add(&[self.elder, self.younger]);
        waiting.reserve(self.waiting.len());
        for (id, trace) in self.waiting {
            waiting.put(id, trace);
        }
    }
}
