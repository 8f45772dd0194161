//! The differences between a shadow and the running generation.

use std::collections::HashMap;

use spandrel_wire::{PlacedSpan, Traces, Verdict};

/// The number of kinds of difference that are counted apart: services times span names. Any more
/// are counted under one kind without names.
const KINDS: usize = 1000;
/// The number of examples for each kind.
const EXAMPLES: usize = 3;
/// The longest service or span name that is kept.
const NAME_BYTES: usize = 128;

/// A generation's decision about a span.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Said {
    /// The span goes on: as it came, or with the same edits from both generations.
    Keep,
    /// The span goes on, but the two generations make different spans of it.
    KeepEdited,
    /// The span is dropped, for this reason.
    Drop(String),
}

/// One kind of difference: the service, the span and each generation's decision.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Difference {
    /// `service.name` of the resource; empty when it has none.
    pub service: String,
    /// The span's name.
    pub span: String,
    /// The decision of the running generation.
    pub running: Said,
    /// The decision of the shadow.
    pub shadow: Said,
}

/// The count and examples of one kind of difference.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// The number of spans.
    pub count: u64,
    /// The trace id and span id of the first ones.
    pub examples: Vec<(Vec<u8>, Vec<u8>)>,
}

/// The decisions of two generations about the same spans.
#[derive(Clone, Debug, Default)]
pub struct Comparison {
    /// The number of spans that both have judged.
    pub compared: u64,
    /// The number of those that were judged or edited differently.
    pub different: u64,
    /// The number of spans that one of them held and that are not settled by both.
    pub unsettled: u64,
    /// The number of spans that were held for longer than they were remembered.
    pub forgotten: u64,
    /// The number of the shadow's calls that failed.
    pub faults: u64,
    /// The last failure.
    pub last_fault: Option<String>,
    /// The differences by kind.
    pub differences: HashMap<Difference, Seen>,
}

/// The service, name and ids of a span, to report a difference with.
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
    /// Adds the comparison of another shard.
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

    /// Adds a span that both generations have judged.
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

/// Returns the verdict on one item of a batch.
pub(super) fn verdict(verdicts: &[u8], item: usize) -> Verdict {
    Verdict::from_byte(verdicts.get(item).copied().unwrap_or_default())
}

/// Returns the decision of a verdict that settles an item; `None` for a hold.
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

/// Returns true if two spans leave the stage with the same content, resource and scope included.
pub(super) fn same(one: &PlacedSpan<'_>, other: &PlacedSpan<'_>) -> bool {
    one.span.bytes() == other.span.bytes()
        && one.resource_spans.resource() == other.resource_spans.resource()
        && one.scope_spans.scope() == other.scope_spans.scope()
}

/// Returns the spans of the request that a generation kept of a batch, in batch order.
pub(super) fn kept(request: &[u8]) -> impl Iterator<Item = PlacedSpan<'_>> {
    Traces::new(request).spans()
}
