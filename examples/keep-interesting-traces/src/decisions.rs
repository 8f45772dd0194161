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

    /// The elder ones first: remembered in this order they come out as they are.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&TraceId, bool)> {
        let all = self.elder.iter().chain(&self.younger);
        all.map(|(id, &keep)| (id, keep))
    }

    pub(crate) fn len(&self) -> usize {
        self.younger.len() + self.elder.len()
    }
}
