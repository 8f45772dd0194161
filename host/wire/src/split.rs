//! Splits requests, and merges them.

use alloc::vec::Vec;

use crate::count::messages;
use crate::cut::{Most, cut};
use crate::field::Fields;
use crate::group::Group;
use crate::signal::Signal;
use crate::span::Span;

/// A part of a request, which is a request itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The shard that it is for, if split by trace; the number of the part, if split by size.
    pub shard: usize,
    /// The request.
    pub bytes: Vec<u8>,
    /// The number of items in it.
    pub items: usize,
}

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
/// scope. Returns `None` if the copies of resources and scopes would take too much (see [`cut`]).
pub fn split_by_trace(request: &[u8], shards: usize) -> Option<Vec<Part>> {
    let room = request.len() / shards.max(1);
    let mut splitter = Splitter::new(request, room + room / 4);
    splitter.run(|span| (shard_of_span(span, shards), 1));
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
    splitter.run(|span| (part_of(trace_id(span)), 1));
    Err(splitter.finish())
}

/// Does [`cut`] by items alone.
pub fn split_by_size(signal: Signal, request: &[u8], max_items: usize) -> Option<Vec<Part>> {
    let most = Most {
        items: max_items,
        bytes: usize::MAX,
    };
    cut(signal, request, most)
}

/// Merges valid requests of one signal: their bytes, one behind the other.
pub fn merge<'a>(requests: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let requests: Vec<&[u8]> = requests.into_iter().collect();
    requests.concat()
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

/// Distributes the records of a request (spans, metrics or log records) to parts.
struct Splitter<'a> {
    request: &'a [u8],
    room: usize,
    parts: Vec<Building>,
    /// The fields of the request that are not entries. Each part gets a copy.
    request_header: Vec<u8>,
    resource_header: Vec<u8>,
    scope_header: Vec<u8>,
    /// The numbers of the entries that the pass is in, counted from 1.
    resource: usize,
    scope: usize,
    /// The bytes that copies of headers may still take.
    copies_left: Option<usize>,
}

/// A part that is being written, and the numbers of the entries that are open in it.
#[derive(Default)]
struct Building {
    group: Group,
    items: usize,
    resource: usize,
    scope: usize,
}

/// Consecutive records that go to the same part.
#[derive(Clone, Copy, Default)]
struct Run {
    part: usize,
    start: usize,
    end: usize,
    items: usize,
}

impl<'a> Splitter<'a> {
    fn new(request: &'a [u8], room: usize) -> Self {
        let mut request_header = Vec::new();
        copy_but(&mut request_header, request, 1);
        Self {
            request,
            room,
            parts: Vec::new(),
            request_header,
            resource_header: Vec::new(),
            scope_header: Vec::new(),
            resource: 0,
            scope: 0,
            copies_left: Some(request.len().saturating_mul(3).saturating_add(4 << 20)),
        }
    }

    /// Counts the copy of a header against the bytes that are left. Without enough left, it returns
    /// false and nothing more is written.
    fn copy(&mut self, bytes: usize) -> bool {
        self.copies_left = self.copies_left.and_then(|left| left.checked_sub(bytes));
        self.copies_left.is_some()
    }

    /// Asks `assign` for each record which part it goes to and how many items it has.
    fn run(&mut self, mut assign: impl FnMut(&[u8]) -> (usize, usize)) {
        let mut at = 0;
        for field in Fields::new(self.request) {
            at += field.len();
            let Some(resource) = field.message(1) else {
                continue;
            };
            copy_but(&mut self.resource_header, resource, 2);
            self.resource += 1;
            let mut at = at - resource.len();
            for field in Fields::new(resource) {
                at += field.len();
                let Some(scope) = field.message(2) else {
                    continue;
                };
                copy_but(&mut self.scope_header, scope, 2);
                self.scope += 1;
                self.records(scope, at - scope.len(), &mut assign);
            }
        }
    }

    fn records(
        &mut self,
        scope: &[u8],
        mut at: usize,
        assign: &mut impl FnMut(&[u8]) -> (usize, usize),
    ) {
        let mut run = Run::default();
        for field in Fields::new(scope) {
            let start = at;
            at += field.len();
            let Some(record) = field.message(2) else {
                continue;
            };
            let (part, items) = assign(record);
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
            run.items += items;
        }
        self.write(run);
    }

    fn write(&mut self, run: Run) {
        let Some(records) = self.request.get(run.start..run.end) else {
            return;
        };
        if records.is_empty() {
            return;
        }
        let (resource, scope) = self
            .parts
            .get(run.part)
            .map_or((0, 0), |part| (part.resource, part.scope));
        let mut copies = 0;
        if resource == 0 {
            copies += self.request_header.len();
        }
        if resource != self.resource {
            copies += self.resource_header.len();
        }
        if scope != self.scope {
            copies += self.scope_header.len();
        }
        if !self.copy(copies) {
            return;
        }
        if self.parts.len() <= run.part {
            self.parts.resize_with(run.part + 1, Building::default);
        }
        let Some(part) = self.parts.get_mut(run.part) else {
            return;
        };
        if part.resource == 0 {
            part.group = Group::with_capacity(self.room);
            part.group.out().extend_from_slice(&self.request_header);
        }
        if part.resource != self.resource {
            part.resource = self.resource;
            part.group.enter_resource(&self.resource_header);
        }
        if part.scope != self.scope {
            part.scope = self.scope;
            part.group.enter_scope(&self.scope_header);
        }
        part.group.out().extend_from_slice(records);
        part.items += run.items;
    }

    fn finish(self) -> Option<Vec<Part>> {
        self.copies_left?;
        let parts = self
            .parts
            .into_iter()
            .enumerate()
            .filter(|(_, part)| part.resource != 0)
            .map(|(shard, part)| Part {
                shard,
                bytes: part.group.finish(),
                items: part.items,
            });
        Some(parts.collect())
    }
}

/// Copies the fields of a message except those with this number.
pub(crate) fn copy_but(out: &mut Vec<u8>, message: &[u8], number: u32) {
    out.clear();
    for field in Fields::new(message) {
        if field.number != number {
            out.extend_from_slice(field.raw());
        }
    }
}
