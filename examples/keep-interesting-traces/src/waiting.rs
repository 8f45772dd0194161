//! The traces that wait for their judgement, at most so many.

use std::collections::HashMap;
use std::time::Duration;

use spandrel_guest::{IdHash, Span};

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
    pub(crate) fn add(&mut self, id: TraceId, span: Span<'_>, now: Duration) {
        self.traces
            .entry(id)
            .or_insert_with(|| Trace::new(now))
            .add(span, now);
    }

    /// Takes a trace as it was in an earlier generation.
    pub(crate) fn put(&mut self, id: TraceId, trace: Trace) {
        self.traces.insert(id, trace);
    }

    /// Takes out those that are due.
    pub(crate) fn take_if(&mut self, due: impl Fn(&Trace) -> bool) -> Vec<(TraceId, Trace)> {
        self.traces.extract_if(|_, trace| due(trace)).collect()
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
        let mut ages: Vec<(Duration, TraceId)> = self
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
