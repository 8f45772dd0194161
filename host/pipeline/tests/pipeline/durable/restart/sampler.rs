//! A tail sampler with a state: it holds the spans of a trace until it has all of them, then keeps
//! or drops the trace, and later spans with it. When it is asked to let go, it judges the spans
//! that it has.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;
use spandrel_pipeline::stage::{
    Dispatch, DrainReason, Emission, Fault, Generation, Input, Instance, InstantiateError,
    Manifest, Reply, StageSpec, State, Ticket,
};

use crate::edges::ids;

/// The number of spans of a trace: span n belongs to trace n / 4.
pub(super) const SPANS: u64 = 4;

/// Returns true if a span makes its trace a candidate to keep.
pub(super) fn is_interesting(span: u64) -> bool {
    span.is_multiple_of(3)
}

/// Returns true if a trace is kept, once it is whole.
pub(super) fn is_kept(trace: u64) -> bool {
    (trace * SPANS..(trace + 1) * SPANS).any(|span| is_interesting(span) && span % 2 == 0)
}

#[derive(Clone, Debug, Default)]
pub(super) struct Sampler {
    /// The traces that it dropped.
    pub(super) dropped: Arc<Mutex<BTreeSet<u64>>>,
    /// True if it refuses any state.
    pub(super) refuses: bool,
}

impl Sampler {
    pub(super) fn stage(&self) -> StageSpec {
        StageSpec::new(
            "sampler",
            Arc::new(SamplerGeneration(self.clone(), manifest())),
        )
    }
}

fn manifest() -> Manifest {
    Manifest {
        name: "sampler".to_owned(),
        dispatch: Dispatch::ByTrace,
        tick_interval: Some(Duration::from_millis(250)),
        state_version: 1,
        holds: true,
        drop_reasons: vec!["uninteresting".to_owned()],
        ..Manifest::default()
    }
}

#[derive(Debug)]
struct SamplerGeneration(Sampler, Manifest);

impl Generation for SamplerGeneration {
    fn manifest(&self) -> &Manifest {
        &self.1
    }

    fn instantiate(&self) -> BoxFuture<'_, Result<Box<dyn Instance>, InstantiateError>> {
        let running = Running {
            sampler: self.0.clone(),
            waiting: BTreeMap::new(),
            judged: BTreeMap::new(),
        };
        Box::pin(std::future::ready(Ok(
            Box::new(running) as Box<dyn Instance>
        )))
    }
}

struct Running {
    sampler: Sampler,
    /// By trace: span, ticket and index.
    waiting: BTreeMap<u64, Vec<[u64; 3]>>,
    judged: BTreeMap<u64, bool>,
}

impl Running {
    fn judge(&mut self, trace: u64, released: &mut Vec<u64>) {
        let held = self.waiting.remove(&trace).unwrap_or_default();
        let keep = held
            .iter()
            .any(|[span, ..]| is_interesting(*span) && span % 2 == 0);
        self.judged.insert(trace, keep);
        if !keep {
            self.sampler.dropped.lock().unwrap().insert(trace);
        }
        for [_, ticket, index] in held {
            released.extend([ticket, index | if keep { 0 } else { 2 << 32 }]);
        }
    }

    fn emission(released: Vec<u64>) -> Emission {
        Emission {
            released,
            ..Emission::default()
        }
    }

    fn is_whole(held: &[[u64; 3]]) -> bool {
        let spans: BTreeSet<u64> = held.iter().map(|[span, ..]| *span).collect();
        spans.len() as u64 == SPANS
    }
}

impl Instance for Running {
    fn process<'a>(
        &'a mut self,
        ticket: Ticket,
        input: &'a Input,
    ) -> BoxFuture<'a, Result<Reply, Fault>> {
        let spans = ids(input.bytes());
        let mut reply = Reply::default();
        for (index, span) in spans.into_iter().enumerate() {
            let trace = span / SPANS;
            reply.verdicts.push(match self.judged.get(&trace) {
                Some(true) => 0,
                Some(false) => 2,
                None => {
                    let held = self.waiting.entry(trace).or_default();
                    held.push([span, ticket, index as u64]);
                    1
                }
            });
        }
        Box::pin(std::future::ready(Ok(reply)))
    }

    fn tick(&mut self) -> BoxFuture<'_, Result<Emission, Fault>> {
        let whole = self.waiting.iter().filter(|(_, held)| Self::is_whole(held));
        let whole: Vec<u64> = whole.map(|(trace, _)| *trace).collect();
        let mut released = Vec::new();
        whole
            .into_iter()
            .for_each(|trace| self.judge(trace, &mut released));
        Box::pin(std::future::ready(Ok(Self::emission(released))))
    }

    fn drain(&mut self, _: DrainReason, _: Duration) -> BoxFuture<'_, Result<Emission, Fault>> {
        let all: Vec<u64> = self.waiting.keys().copied().collect();
        let mut released = Vec::new();
        all.into_iter()
            .for_each(|trace| self.judge(trace, &mut released));
        Box::pin(std::future::ready(Ok(Self::emission(released))))
    }

    fn snapshot(&mut self) -> BoxFuture<'_, Result<Option<State>, Fault>> {
        let judged = self
            .judged
            .iter()
            .flat_map(|(trace, keep)| [*trace, u64::from(*keep)]);
        let waiting = self.waiting.values().flatten().flatten().copied();
        let words = std::iter::once(self.judged.len() as u64)
            .chain(judged)
            .chain(waiting);
        let state = State {
            version: 1,
            bytes: words.flat_map(u64::to_le_bytes).collect(),
        };
        Box::pin(std::future::ready(Ok(Some(state))))
    }

    fn restore(&mut self, state: State) -> BoxFuture<'_, Result<Result<(), String>, Fault>> {
        if self.sampler.refuses {
            return Box::pin(std::future::ready(Ok(Err("cannot read this".to_owned()))));
        }
        let (words, _) = state.bytes.as_chunks::<8>();
        let words: Vec<u64> = words.iter().map(|word| u64::from_le_bytes(*word)).collect();
        let judged = usize::try_from(words[0]).unwrap();
        let (judged, waiting) = words[1..].split_at(judged * 2);
        for pair in judged.as_chunks::<2>().0 {
            self.judged.insert(pair[0], pair[1] > 0);
        }
        for held in waiting.as_chunks::<3>().0 {
            self.waiting.entry(held[0] / SPANS).or_default().push(*held);
        }
        Box::pin(std::future::ready(Ok(Ok(()))))
    }
}
