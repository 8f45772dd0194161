//! Splits requests of spans by trace.

use alloc::vec::Vec;

use crate::cut::part::{Headers, OpenPart, Part};
use crate::read::field::Fields;
use crate::read::field::messages;
use crate::read::span::Span;

/// Returns the shard, out of this many, to which a trace belongs. Spans without a trace id belong
/// to the first.
///
/// Both halves of the id are multiplied and mixed, so that ids of any generator (random, counting,
/// or with zeros above) spread evenly; the same id gives the same shard on every machine.
#[inline]
pub fn shard_of(trace_id: &[u8], shards: usize) -> usize {
    let Some((low, rest)) = trace_id.split_first_chunk::<8>() else {
        return 0;
    };
    let high = rest.first_chunk::<8>().copied().unwrap_or_default();
    let low = u64::from_le_bytes(*low).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let high = u64::from_le_bytes(high).wrapping_mul(0xc2b2_ae3d_27d4_eb4f);
    let mixed = low ^ high.rotate_left(32);
    let mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = u128::from(mixed ^ (mixed >> 32));
    // Multiply and shift maps 64 bits evenly onto 0..shards.
    usize::try_from((mixed * shards as u128) >> 64).unwrap_or(0)
}

/// Returns the shard that the whole of a valid request of spans is for, if there is one. Then it
/// need not be split.
pub fn single_trace_part(request: &[u8], shards: usize) -> Option<usize> {
    if shards <= 1 {
        return Some(0);
    }
    let mut spans = messages(request, 1)
        .flat_map(|resource| messages(resource, 2))
        .flat_map(|scope| messages(scope, 2));
    let first = spans.next().map_or(0, |span| shard_of_span(span, shards));
    spans
        .all(|span| shard_of_span(span, shards) == first)
        .then_some(first)
}

/// Splits a valid request of spans so that all spans of a trace are in one part. Parts without
/// spans are left out; the others are in order of shard. Spans keep their order, resource and
/// scope. Returns `None` if the copies of resources and scopes would take too much (see
/// [`cut`](crate::cut())).
pub fn split_by_trace(request: &[u8], shards: usize) -> Option<Vec<Part>> {
    let room = request.len() / shards.max(1);
    let mut splitter = Splitter::new(request, room + room / 4);
    splitter.run(|span| shard_of_span(span, shards));
    splitter.finish()
}

/// Splits a valid request of spans by the part, from 0, that `part_of` returns for their trace ids.
/// It must be the same for each span of a trace. Otherwise this works like [`split_by_trace`],
/// except that a request that is one part is not copied: then only the number of the part is
/// returned.
pub fn split_traces(
    request: &[u8],
    mut part_of: impl FnMut(&[u8]) -> usize,
) -> Result<usize, Option<Vec<Part>>> {
    let mut parts = messages(request, 1)
        .flat_map(|resource| messages(resource, 2))
        .flat_map(|scope| messages(scope, 2))
        .map(|span| part_of(trace_id(span)));
    let first = parts.next().unwrap_or(0);
    if parts.all(|part| part == first) {
        return Ok(first);
    }
    let mut splitter = Splitter::new(request, request.len());
    splitter.run(|span| part_of(trace_id(span)));
    Err(splitter.finish())
}

fn shard_of_span(span: &[u8], shards: usize) -> usize {
    shard_of(trace_id(span), shards)
}

/// Returns the trace id of a span. The first one counts here, which encoders write first. A span
/// with two is legal protobuf, but nobody makes it, and it harms only its own trace.
fn trace_id(span: &[u8]) -> &[u8] {
    match span {
        [0x0a, 16, rest @ ..] => rest.get(..16).unwrap_or_default(),
        _ => Span::new(span).trace_id(),
    }
}

/// Distributes the spans of a request to parts.
struct Splitter<'a> {
    request: &'a [u8],
    /// The bytes that a new part gets allocated.
    room: usize,
    headers: Headers,
    /// The parts by their number.
    parts: Vec<OpenPart>,
}

/// Consecutive spans that go to the same part.
#[derive(Clone, Copy, Default)]
struct Run {
    part: usize,
    start: usize,
    end: usize,
    items: usize,
}

impl<'a> Splitter<'a> {
    fn new(request: &'a [u8], room: usize) -> Self {
        Self {
            request,
            room,
            headers: Headers::new(request),
            parts: Vec::new(),
        }
    }

    /// Asks `part_of` for each span which part it goes to.
    fn run(&mut self, mut part_of: impl FnMut(&[u8]) -> usize) {
        let mut at = 0;
        for field in Fields::new(self.request) {
            at += field.len();
            let Some(resource) = field.message(1) else {
                continue;
            };
            self.headers.enter_resource(resource);
            let mut at = at - resource.len();
            for field in Fields::new(resource) {
                at += field.len();
                let Some(scope) = field.message(2) else {
                    continue;
                };
                self.headers.enter_scope(scope);
                self.spans(scope, at - scope.len(), &mut part_of);
            }
        }
    }

    fn spans(&mut self, scope: &[u8], mut at: usize, part_of: &mut impl FnMut(&[u8]) -> usize) {
        let mut run = Run::default();
        for field in Fields::new(scope) {
            let start = at;
            at += field.len();
            let Some(span) = field.message(2) else {
                continue;
            };
            let part = part_of(span);
            if part != run.part || start != run.end {
                self.write(run);
                run = Run {
                    part,
                    start,
                    end: start,
                    items: 0,
                };
            }
            run.end = at;
            run.items += 1;
        }
        self.write(run);
    }

    fn write(&mut self, run: Run) {
        let Some(spans) = self.request.get(run.start..run.end) else {
            return;
        };
        if spans.is_empty() {
            return;
        }
        let new = OpenPart::default();
        let copies = self
            .parts
            .get(run.part)
            .unwrap_or(&new)
            .missing(&self.headers, 0);
        if !self.headers.may_copy(copies) {
            return;
        }
        if self.parts.len() <= run.part {
            self.parts.resize_with(run.part + 1, OpenPart::default);
        }
        if let Some(part) = self.parts.get_mut(run.part) {
            part.write(&self.headers, spans, run.items, self.room);
        }
    }

    fn finish(self) -> Option<Vec<Part>> {
        let parts = (0..)
            .zip(self.parts)
            .filter_map(|(number, part)| part.finish(number));
        self.headers.are_affordable().then(|| parts.collect())
    }
}
