//! The judgements of the last traces, for spans that come late.

use std::collections::HashMap;

use spandrel_guest::IdHash;

use crate::trace::TraceId;

/// Two generations: when the younger is full it becomes the elder, and what was the elder is
/// forgotten. Both together never hold more than the limit.
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

    /// Whether the trace was kept, if that is still known.
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

    /// Those that the next generation takes over: the elder, then the younger.
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

    /// Remembers what another instance did as well. Its elder are among the elder here, where they
    /// push nobody out; what was judged here stays so.
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

/// One judgement in a state: whether the trace is kept, then its id.
pub(crate) type Decided = [u8; 17];

/// The most judgements that a state has, the youngest: 8 of the 16 MiB that a stage lets it have.
/// The traces that wait need the rest.
const MOST_CARRIED: usize = 500_000;

fn decided(TraceId(id): TraceId, keep: bool) -> Decided {
    let mut decided = [0; 17];
    let [first, rest @ ..] = &mut decided;
    *first = keep.into();
    *rest = id;
    decided
}
