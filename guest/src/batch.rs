//! The current batch: one OTLP request, read in place, and the reply to it.

use std::cell::{Cell, OnceCell, RefCell};
use std::marker::PhantomData;

use spandrel_wire::{FieldOffsets, Operation, Traces};

use crate::bindings::spandrel::plugin::types;
use crate::edits::{Edits, Snippet, word};
use crate::emission::{self, HOLD, KEEP};
use crate::reads::{ReadTracker, WholeBatch};
use crate::value::{AttributeValue, write_attribute};
use resource::Start;

mod resource;

pub use resource::span::Span;
pub use resource::{Resource, Scope};

/// One batch of spans. Spans that a plugin does not touch are kept as they came, and cost nothing.
///
/// ```
/// # use spandrel_guest::prelude::*;
/// # const DEBUG: Reason = Reason(0);
/// fn process(batch: &mut Batch) {
///     for span in batch.spans() {
///         if span.attribute_str("log.level") == Some("debug") {
///             span.drop(DEBUG);
///         } else if span.is_error() {
///             span.set_attribute("important", true);
///         }
///     }
/// }
/// ```
#[derive(Debug)]
pub struct Batch {
    ticket: u64,
    /// The batch, or a projection of it.
    bytes: Vec<u8>,
    /// The batch behind a projection, once it was asked for.
    whole: OnceCell<WholeBatch>,
    reads: ReadTracker,
    reply: RefCell<ReplyBuffers>,
    /// The number of spans, once an iterator has reached the end of the batch.
    total: Cell<Option<u32>>,
    /// The last resource that was walked through, and the place where it ends. It saves counting
    /// that resource again.
    walked: Cell<Option<(u32, Start)>>,
    /// The last span that was asked for its fields, and the places of these fields.
    offsets: RefCell<(Option<u32>, FieldOffsets)>,
}

/// The verdicts and edits so far. The buffers are reused for every batch.
#[derive(Debug, Default)]
pub(crate) struct ReplyBuffers {
    /// One byte for each span, up to the last one that was dropped or held.
    verdicts: Vec<u8>,
    edits: Edits,
}

/// An attribute that is written once and set on many spans, resources or scopes of its batch (see
/// [`Batch::prepare`]).
#[derive(Clone, Copy, Debug)]
pub struct Prepared<'b> {
    snippet: Snippet,
    batch: PhantomData<&'b Batch>,
}

impl Batch {
    pub(crate) fn new(
        ticket: u64,
        bytes: Vec<u8>,
        reads: ReadTracker,
        mut buffers: ReplyBuffers,
    ) -> Self {
        buffers.verdicts.clear();
        buffers.edits.clear();
        Self {
            ticket,
            bytes,
            whole: OnceCell::new(),
            reads,
            reply: RefCell::new(buffers),
            total: Cell::new(None),
            walked: Cell::new(None),
            offsets: RefCell::default(),
        }
    }

    /// Returns every span, in batch order.
    pub fn spans(&self) -> impl Iterator<Item = Span<'_>> {
        let mut placed = self.traces().spans();
        let mut seen = 0;
        std::iter::from_fn(move || {
            let Some(span) = placed.next() else {
                self.total.set(Some(seen));
                return None;
            };
            seen = span.index.wrapping_add(1);
            Some(Span::new(self, span))
        })
    }

    /// Returns every resource, in batch order. [`Resource::spans`] returns its spans.
    pub fn resources(&self) -> impl Iterator<Item = Resource<'_>> {
        let mut all = self.traces().resource_spans();
        let mut before: Option<Resource<'_>> = None;
        std::iter::from_fn(move || {
            let next = all.next();
            let (index, place) = before
                .map(|resource| (resource.index().wrapping_add(1), resource.end()))
                .unwrap_or_default();
            before = next.map(|next| Resource::new(self, next, index, place));
            if before.is_none() {
                self.total.set(Some(place.item));
            }
            before
        })
    }

    /// Writes an attribute once, to be set on many spans, resources or scopes of this batch.
    ///
    /// Setting the same key and value again and again is cheap anyway; this is cheaper.
    pub fn prepare(&self, key: &str, value: impl AttributeValue) -> Prepared<'_> {
        let snippet = self
            .reply
            .borrow_mut()
            .edits
            .intern(|blob| write_attribute(blob, key, &value));
        Prepared {
            snippet,
            batch: PhantomData,
        }
    }

    /// Returns the batch as it came: one serialized `ExportTraceServiceRequest`.
    pub fn bytes(&self) -> &[u8] {
        if self.reads.are_watched() && self.reads.whole() {
            self.whole().bytes()
        } else {
            &self.bytes
        }
    }

    /// Returns the batch behind the projection.
    #[cold]
    fn whole(&self) -> &WholeBatch {
        self.whole.get_or_init(WholeBatch::fetch)
    }

    /// Returns the part of a span that contains this field. The first read of a span walks through
    /// the span once and records the places of all fields; later reads use these.
    #[inline]
    fn part<'b>(
        &self,
        index: u32,
        span: spandrel_wire::Span<'b>,
        field: usize,
    ) -> spandrel_wire::Span<'b> {
        let (of, offsets) = &mut *self.offsets.borrow_mut();
        if *of != Some(index) {
            *of = None;
            if !offsets.read(span) {
                return span;
            }
            *of = Some(index);
        }
        offsets.part(span, field)
    }

    /// Returns the part of a span that contains its attributes, or the whole span if nothing has
    /// walked through it yet.
    #[inline]
    fn attributes_part<'b>(
        &self,
        index: u32,
        span: spandrel_wire::Span<'b>,
    ) -> spandrel_wire::Span<'b> {
        match &*self.offsets.borrow() {
            (Some(of), offsets) if *of == index => offsets.part(span, 9),
            _ => span,
        }
    }

    fn ticket(&self) -> u64 {
        self.ticket
    }

    fn push(&self, operation: Operation, index: u32, snippet: Snippet) {
        self.reply
            .borrow_mut()
            .edits
            .push(operation, index, snippet);
    }

    fn edit(&self, operation: Operation, index: u32, write: impl FnOnce(&mut Vec<u8>)) {
        let edits = &mut self.reply.borrow_mut().edits;
        let snippet = edits.intern(write);
        edits.push(operation, index, snippet);
    }

    /// Sets the verdict on one span. The last verdict counts, except for a held span: its `Held`
    /// settles it.
    #[track_caller]
    fn say(&self, item: u32, outcome: u8) {
        let buffers = &mut *self.reply.borrow_mut();
        let at = item as usize;
        if let Some(verdict) = buffers.verdicts.get_mut(at) {
            assert!(*verdict != HOLD, "a held span is settled by its `Held`");
            *verdict = outcome;
        } else if outcome != KEEP {
            buffers.verdicts.resize(at, KEEP);
            buffers.verdicts.push(outcome);
        }
        if outcome > HOLD {
            buffers.edits.retract(item);
        }
    }

    /// Returns the reply, in buffers of the exact size, and the parts that the next batch reuses.
    pub(crate) fn into_reply(mut self) -> (types::Reply, ReadTracker, ReplyBuffers) {
        let known = self.total.get();
        let total = || known.unwrap_or_else(|| word(self.traces().spans().count()));
        let mut buffers = self.reply.take();
        emission::settle_within(self.ticket, |released, edits, position| {
            if let Some(verdict) = buffers.verdicts.get_mut(released.index as usize) {
                *verdict = released.outcome;
            }
            if released.outcome == KEEP {
                buffers.edits.adopt(edits, position, released.index);
            }
        });
        if buffers.verdicts.iter().all(|&verdict| verdict == KEEP) {
            buffers.verdicts.clear();
        } else {
            buffers.verdicts.resize(total() as usize, KEEP);
        }
        let reply = types::Reply {
            verdicts: buffers.verdicts.as_slice().to_vec(),
            edits: buffers.edits.words().to_vec(),
            blob: buffers.edits.blob_in_use().to_vec(),
            emission: emission::take_if_any(),
            reads: self.reads.news(),
        };
        (reply, self.reads, buffers)
    }

    fn traces(&self) -> Traces<'_> {
        Traces::new(&self.bytes)
    }
}
