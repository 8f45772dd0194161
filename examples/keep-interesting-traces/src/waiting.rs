//! The traces that wait for their judgement, at most so many.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use spandrel_guest::{IdHash, Moment, Span};

use crate::trace::{Trace, TraceId};

/// When the limit is passed one trace in this many is judged at once, so that the walk to find the
/// oldest is paid for by many.
const EXCESS_PART: usize = 16;

/// Traces by id. A tick walks through all of them: fifty thousand take about a millisecond.
#[derive(Debug)]
pub(crate) struct Waiting {
    traces: HashMap<TraceId, Trace, IdHash>,
    most: usize,
}

impl Waiting {
    pub(crate) fn new(most: usize) -> Self {
        Self {
            traces: HashMap::default(),
            most,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.traces.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&TraceId, &Trace)> {
        self.traces.iter()
    }

    /// Holds a span with the others of its trace.
    pub(crate) fn add(&mut self, id: TraceId, span: Span<'_>, now: Moment) {
        self.traces
            .entry(id)
            .or_insert_with(|| Trace::new(now))
            .add(span, now);
    }

    /// Adds a trace that waited in another instance. Spans of it may wait here already.
    pub(crate) fn put(&mut self, id: TraceId, trace: Trace) {
        match self.traces.entry(id) {
            Entry::Occupied(here) => here.into_mut().join(trace),
            Entry::Vacant(place) => {
                place.insert(trace);
            }
        }
    }

    pub(crate) fn reserve(&mut self, more: usize) {
        self.traces.reserve(more);
    }

    /// Takes out those that are due.
    pub(crate) fn take_if(
        &mut self,
        due: impl Fn(TraceId, &Trace) -> bool,
    ) -> Vec<(TraceId, Trace)> {
        let due = self.traces.extract_if(|&id, trace| due(id, trace));
        due.collect()
    }

    /// Takes out the oldest beyond the limit.
    pub(crate) fn take_excess(&mut self) -> Vec<(TraceId, Trace)> {
        match self.traces.len().checked_sub(self.most) {
            None | Some(0) => Vec::new(),
            Some(excess) => self.take_oldest(excess + self.most / EXCESS_PART),
        }
    }

    /// Takes out this many, the oldest.
    pub(crate) fn take_oldest(&mut self, count: usize) -> Vec<(TraceId, Trace)> {
        if count >= self.traces.len() {
            return self.traces.drain().collect();
        }
        let mut ages: Vec<(Moment, TraceId)> = self
            .traces
            .iter()
            .map(|(&id, trace)| (trace.begun_at, id))
            .collect();
        ages.select_nth_unstable_by_key(count, |&(begun_at, _)| begun_at);
        ages.truncate(count);
        ages.into_iter()
            .filter_map(|(_, id)| self.traces.remove_entry(&id))
            .collect()
    }
}
