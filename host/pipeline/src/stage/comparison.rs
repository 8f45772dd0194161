//! How a shadow differs from the running generation.

use std::collections::HashMap;

use spandrel_wire::{PlacedSpan, Traces, Verdict};

/// Kinds of difference that are told apart: services times span names. More are counted under one
/// without names.
const KINDS: usize = 1000;
/// Examples of each kind.
const EXAMPLES: usize = 3;
/// The longest service or span name that is kept.
const NAME_BYTES: usize = 128;

/// What a generation says of a span.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Said {
    /// It goes on as it came, or as both say.
    Keep,
    /// It goes on, but the two make different spans of it.
    KeepEdited,
    /// It is dropped, for this reason.
    Drop(String),
}

/// One kind of difference: in which service and span, and what each generation said.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Difference {
    /// `service.name` of the resource; empty when it has none.
    pub service: String,
    /// The span's name.
    pub span: String,
    /// What the running generation said.
    pub running: Said,
    /// What the shadow said.
    pub shadow: Said,
}

/// What was seen of a kind of difference.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// How often.
    pub count: u64,
    /// Trace id and span id of the first.
    pub examples: Vec<(Vec<u8>, Vec<u8>)>,
}

/// What two generations said of the same spans.
#[derive(Clone, Debug, Default)]
pub struct Comparison {
    /// Spans that both have judged.
    pub compared: u64,
    /// Of these, judged or edited in another way.
    pub different: u64,
    /// Held by one of them, and not settled by both.
    pub unsettled: u64,
    /// Held for longer than anybody kept account.
    pub forgotten: u64,
    /// Calls of the shadow that failed.
    pub faults: u64,
    /// The last failure.
    pub last_fault: Option<String>,
    /// By kind.
    pub differences: HashMap<Difference, Seen>,
}

/// A span by which a difference is told.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Label {
    service: String,
    span: String,
    trace_id: Vec<u8>,
    span_id: Vec<u8>,
}

impl Label {
    pub(super) fn of(placed: &PlacedSpan<'_>) -> Self {
        let resource = placed.resource_spans.resource();
        let service = resource.service_name();
        Self {
            service: cut(service.unwrap_or_default()),
            span: cut(placed.span.name()),
            trace_id: placed.span.trace_id().to_vec(),
            span_id: placed.span.span_id().to_vec(),
        }
    }
}

fn cut(name: &str) -> String {
    let end = name.floor_char_boundary(NAME_BYTES);
    name.get(..end).unwrap_or_default().to_owned()
}

impl Comparison {
    /// Adds what another shard has seen.
    pub fn join(&mut self, other: Self) {
        self.compared += other.compared;
        self.different += other.different;
        self.unsettled += other.unsettled;
        self.forgotten += other.forgotten;
        self.faults += other.faults;
        self.last_fault = self.last_fault.take().or(other.last_fault);
        for (kind, seen) in other.differences {
            let known = self.differences.entry(kind).or_default();
            known.count += seen.count;
            known.examples.extend(seen.examples);
            known.examples.truncate(EXAMPLES);
        }
    }

    /// Both have said what they think of a span.
    pub(super) fn add(&mut self, label: impl FnOnce() -> Label, running: Said, shadow: Said) {
        self.compared += 1;
        if running == shadow && running != Said::KeepEdited {
            return;
        }
        self.different += 1;
        let label = label();
        let (service, span) = if self.differences.len() < KINDS {
            (label.service, label.span)
        } else {
            (String::new(), String::new())
        };
        let kind = Difference {
            service,
            span,
            running,
            shadow,
        };
        let seen = self.differences.entry(kind).or_default();
        seen.count += 1;
        if seen.examples.len() < EXAMPLES {
            seen.examples.push((label.trace_id, label.span_id));
        }
    }
}

/// The verdicts on a batch, one for each item.
pub(super) fn verdict(verdicts: &[u8], item: usize) -> Verdict {
    Verdict::from_byte(verdicts.get(item).copied().unwrap_or_default())
}

/// What a verdict that settles an item says; none for a hold.
pub(super) fn said(verdict: Verdict, reasons: &[String]) -> Option<Said> {
    match verdict {
        Verdict::Keep => Some(Said::Keep),
        Verdict::Hold => None,
        Verdict::Drop(reason) => {
            let name = reasons.get(usize::from(reason));
            Some(Said::Drop(name.cloned().unwrap_or_default()))
        }
        Verdict::Undisposed => Some(Said::Drop("undisposed".to_owned())),
    }
}

/// Whether two spans leave the stage with the same content, resource and scope included.
pub(super) fn same(one: &PlacedSpan<'_>, other: &PlacedSpan<'_>) -> bool {
    one.span.bytes() == other.span.bytes()
        && one.resource_spans.resource() == other.resource_spans.resource()
        && one.scope_spans.scope() == other.scope_spans.scope()
}

/// The spans of what a generation kept of a batch, in batch order.
pub(super) fn kept(request: &[u8]) -> impl Iterator<Item = PlacedSpan<'_>> {
    Traces::new(request).spans()
}
