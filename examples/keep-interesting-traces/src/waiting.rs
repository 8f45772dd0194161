//! The traces that wait for their decision, up to a limit.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::time::Duration;

use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use spandrel_guest::{IdHash, Moment, Span};

use crate::times::Clock;
use crate::trace::{Trace, TraceId};

/// The part of the limit that is judged early when the limit is exceeded: one trace in this many.
/// So one walk to find the oldest serves many traces.
const EXCESS_PART: usize = 16;

/// The waiting traces by id. A tick walks through all of them: fifty thousand take about a
/// millisecond.
#[derive(Debug)]
pub(crate) struct Waiting {
    traces: Traces,
    most: usize,
    /// The longest gap between spans of one trace. If the gap is longer, their clocks differ.
    apart: Duration,
}

pub(crate) type Traces = HashMap<TraceId, Trace, IdHash>;

impl Waiting {
    pub(crate) fn new(most: usize, apart: Duration) -> Self {
        Self {
            traces: HashMap::default(),
            most,
            apart,
        }
    }

    /// Returns the limits for the times of spans that arrive now.
    pub(crate) fn clock(&self) -> Clock {
        Clock::new(spandrel_guest::now(), self.apart)
    }

    pub(crate) fn len(&self) -> usize {
        self.traces.len()
    }

    /// Returns the part of the state with the waiting traces.
    pub(crate) fn carried(&self) -> Carried<&Traces> {
        Carried(&self.traces)
    }

    /// Adds the traces that waited in another instance. Other spans of a trace may already wait
    /// here.
    pub(crate) fn take_over(&mut self, Carried(traces): Carried<Traces>) {
        if self.traces.is_empty() {
            self.traces = traces;
        } else {
            for (id, trace) in traces {
                put(&mut self.traces, id, trace, self.apart);
            }
        }
    }

    /// Holds a span with the others of its trace.
    pub(crate) fn add(&mut self, id: TraceId, span: Span<'_>, now: Moment, clock: &Clock) {
        self.traces
            .entry(id)
            .or_insert_with(|| Trace::new(now))
            .add(span, now, clock);
    }

    /// Removes and returns the traces that are due.
    pub(crate) fn take_if(
        &mut self,
        due: impl Fn(TraceId, &Trace) -> bool,
    ) -> Vec<(TraceId, Trace)> {
        let due = self.traces.extract_if(|&id, trace| due(id, trace));
        due.collect()
    }

    /// Removes and returns the oldest traces beyond the limit.
    pub(crate) fn take_excess(&mut self) -> Vec<(TraceId, Trace)> {
        match self.traces.len().checked_sub(self.most) {
            None | Some(0) => Vec::new(),
            Some(excess) => self.take_oldest(excess + self.most / EXCESS_PART),
        }
    }

    /// Removes and returns this many of the oldest traces.
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

/// Adds a trace, or joins it with the part that is here: no handle is ever lost.
fn put(traces: &mut Traces, id: TraceId, trace: Trace, apart: Duration) {
    match traces.entry(id) {
        Entry::Occupied(here) => here.into_mut().join(trace, apart),
        Entry::Vacant(place) => {
            place.insert(trace);
        }
    }
}

/// Traces that are passed from one instance to another. They are written as a list, so that reading
/// them needs no second copy of all, and a trace that is there twice loses nothing.
#[derive(Debug)]
pub(crate) struct Carried<T>(T);

/// The most traces that memory is reserved for before they are read: 7 MiB.
const MOST_RESERVED: usize = 65_536;

impl Serialize for Carried<&Traces> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0)
    }
}

impl<'de> Deserialize<'de> for Carried<Traces> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;

        impl<'de> Visitor<'de> for Reader {
            type Value = Traces;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("traces with their ids")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut read: A) -> Result<Traces, A::Error> {
                let mut traces = Traces::default();
                traces.reserve(read.size_hint().unwrap_or_default().min(MOST_RESERVED));
                while let Some((id, trace)) = read.next_element()? {
                    // A state contains each trace once. If one is there twice, no span is lost.
                    put(&mut traces, id, trace, Duration::ZERO);
                }
                Ok(traces)
            }
        }

        deserializer.deserialize_seq(Reader).map(Self)
    }
}
