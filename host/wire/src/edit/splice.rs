//! The splice applies verdicts and edits to the bytes of a batch.

use alloc::vec::Vec;

use crate::edit::bad_reply::BadReply;
use crate::edit::edits::{Edit, Edits, Operation, Target, TargetCounts, check_edits, order_key};
use crate::edit::held_items::HeldItems;
use crate::edit::verdict::{Rules, VerdictCounts, count_verdicts};
use crate::read::field::messages;
use crate::write::Output;
use writer::Writer;

mod writer;

/// A batch after the verdicts and edits of a plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Splice {
    /// The part that is passed on.
    pub output: Output,
    /// The number of items in it.
    pub kept_items: usize,
    /// The held items; `None` if nothing is held.
    pub held: Option<HeldItems>,
    /// The bytes of the verdicts that drop (see [`crate::Verdict`]) with the number of items that
    /// each dropped, by byte.
    pub dropped: Vec<(u8, u64)>,
}

/// Applies a plugin's verdicts and edits to a valid request of spans.
///
/// The reply is not trusted: everything in it is checked before anything is written. Edits of
/// dropped items are checked and then have no effect. An attribute that is set takes the place of
/// the first with its key and removes the others, or is appended. An attribute that is deleted is
/// removed wherever it stands. The first edit of a resource or scope that is not there makes it.
///
/// Scope and resource entries that lose their last span are left out. Those that came without any
/// stay as they came, unless nothing at all is left.
pub fn splice(
    request: &[u8],
    verdicts: &[u8],
    edits: Edits<'_>,
    rules: &Rules,
) -> Result<Splice, BadReply> {
    let counts = count_verdicts(verdicts, rules)?;
    check_edits(
        edits,
        count_targets(request, edits, rules.items),
        &rules.limits,
    )?;
    Ok(write(request, verdicts, edits, rules.items, counts))
}

/// Splices a request of this many items, by a reply that was checked and counted.
pub(crate) fn write(
    request: &[u8],
    verdicts: &[u8],
    edits: Edits<'_>,
    items: usize,
    counts: VerdictCounts,
) -> Splice {
    let VerdictCounts {
        kept: kept_items,
        held,
        dropped,
    } = counts;
    let mut spliced = Splice {
        output: Output::Unchanged,
        kept_items,
        held: None,
        dropped,
    };
    let nothing_left = kept_items == 0 && items > 0;
    if nothing_left {
        spliced.output = Output::Nothing;
    }
    let unchanged = kept_items == items && edits.is_empty();
    if unchanged || (nothing_left && held == 0) {
        return spliced;
    }

    let ordered = edits.ordered();
    let out_capacity = if nothing_left {
        0
    } else {
        share(request.len(), kept_items, items) + edit_bytes(&ordered)
    };
    let held_items = HeldItems::with_capacity(held, share(request.len(), held, items));
    let (out, held_items) = Writer::new(request, verdicts, targets(&ordered), edits.blob)
        .with_room(out_capacity, held_items)
        .run();
    if held > 0 {
        spliced.held = Some(held_items);
    }
    if !nothing_left {
        spliced.output = Output::Request(out);
    }
    spliced
}

/// Counts the targets of each kind in the batch. Resources and scopes are counted only if one is
/// edited.
fn count_targets(request: &[u8], edits: Edits<'_>, items: usize) -> TargetCounts {
    let (quads, _) = edits.words.as_chunks::<4>();
    let of_items = Operation::Replace.number();
    if quads.iter().all(|edit| edit[0] <= of_items) {
        return TargetCounts {
            items,
            resources: 0,
            scopes: 0,
        };
    }
    TargetCounts {
        items,
        resources: messages(request, 1).count(),
        scopes: messages(request, 1)
            .map(|resource| messages(resource, 2).count())
            .sum(),
    }
}

/// Returns the edits of items, of resources and of scopes.
fn targets(ordered: &[u32]) -> [&[Edit]; 3] {
    let (quads, _) = ordered.as_chunks::<4>();
    let of = |target| {
        let start = quads.partition_point(|edit| order_key(edit).0 < Some(target));
        let end = quads.partition_point(|edit| order_key(edit).0 <= Some(target));
        quads.get(start..end).unwrap_or_default()
    };
    [of(Target::Item), of(Target::Resource), of(Target::Scope)]
}

/// Returns about the bytes that this many items of a request take, with some room.
fn share(bytes: usize, part: usize, items: usize) -> usize {
    if part == items {
        return bytes;
    }
    let average = bytes / items.max(1);
    average.saturating_mul(part + part / 8 + 1).min(bytes)
}

/// Returns the most bytes that edits add, field keys and lengths included.
fn edit_bytes(ordered: &[u32]) -> usize {
    let (quads, _) = ordered.as_chunks::<4>();
    quads
        .iter()
        .map(|[_, _, _, length]| usize::try_from(*length).unwrap_or(0) + 6)
        .sum()
}
