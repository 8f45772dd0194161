//! The decisions on recent traces, for spans that come late.

use std::collections::HashMap;

use spandrel_guest::IdHash;

use crate::trace::TraceId;

/// Two generations of decisions. When the younger is full it becomes the elder, and the previous
/// elder is forgotten. Both together never exceed the limit.
#[derive(Debug)]
pub(crate) struct Decisions {
    younger: HashMap<TraceId, bool, IdHash>,
    elder: HashMap<TraceId, bool, IdHash>,
    most: usize,
}

impl Decisions {
    pub(crate) fn new(max_decisions: usize) -> Self {
        Self {
            younger: HashMap::default(),
            elder: HashMap::default(),
            most: max_decisions / 2,
        }
    }

    /// Returns true if the trace was kept, false if it was dropped, and `None` if that is not known
    /// any more.
    pub(crate) fn get(&self, id: TraceId) -> Option<bool> {
        let known = self.younger.get(&id).or_else(|| self.elder.get(&id));
        known.copied()
    }

    pub(crate) fn remember(&mut self, id: TraceId, keep: bool) {
        self.younger.insert(id, keep);
        if self.younger.len() >= self.most {
            std::mem::swap(&mut self.younger, &mut self.elder);
            self.younger.clear();
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.younger.len() + self.elder.len()
    }

    /// Returns the decisions that the next generation takes over: the elder, then the younger.
    pub(crate) fn remembered(&self) -> [Vec<Decided>; 2] {
        let decided = |ids: &HashMap<TraceId, bool, IdHash>, most: usize| {
            let ids = ids.iter().take(most);
            ids.map(|(id, &keep)| decided(*id, keep)).collect()
        };
        let elders = MOST_CARRIED.saturating_sub(self.younger.len());
        [
            decided(&self.elder, elders),
            decided(&self.younger, MOST_CARRIED),
        ]
    }

    /// Adds the decisions of another instance. Its elder ones go to the elder here and push none of
    /// these out. A decision that was made here stays.
    pub(crate) fn add(&mut self, [elder, younger]: &[Vec<Decided>; 2]) {
        let room = self.most.saturating_sub(self.elder.len());
        self.elder.reserve(elder.len().min(room));
        for &[keep, ref id @ ..] in elder.iter().take(room) {
            self.elder.entry(TraceId(*id)).or_insert(keep != 0);
        }
        self.younger.reserve(younger.len().min(self.most));
        for &[keep, ref id @ ..] in younger {
            let id = TraceId(*id);
            self.remember(id, self.get(id).unwrap_or(keep != 0));
        }
    }
}

/// One decision in a state: 1 if the trace is kept, otherwise 0, then its id.
pub(crate) type Decided = [u8; 17];

/// The most decisions, the youngest, that a state contains. They take 8 of the 16 MiB that a state
/// may have. The waiting traces need the rest.
const MOST_CARRIED: usize = 500_000;

fn decided(TraceId(id): TraceId, keep: bool) -> Decided {
    let mut decided = [0; 17];
    let [first, rest @ ..] = &mut decided;
    *first = keep.into();
    *rest = id;
    decided
}
