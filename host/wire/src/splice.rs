//! The splice applies verdicts and edits to the bytes of a batch.

use alloc::vec::Vec;

use crate::bad_reply::BadReply;
use crate::count::messages;
use crate::edits::{Counts, Edit, Edits, Operation, Target, check_edits, place};
use crate::held::Held;
use crate::limits::Limits;
use crate::verdict::{self, Tally};
use writer::Writer;

mod writer;

/// The rules of the host for a reply.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// The number of items of the batch.
    pub items: usize,
    /// The number of reasons that the plugin's manifest names.
    pub reasons: usize,
    /// True if the plugin's manifest says that it holds.
    pub holds: bool,
    /// Limits on what edits add.
    pub limits: Limits,
}

/// The part of a batch that is passed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// All of it, unchanged: the bytes that came.
    All,
    /// Nothing.
    Nothing,
    /// This request.
    Some(Vec<u8>),
}

/// A batch after the verdicts and edits of a plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spliced {
    /// The part that is passed on.
    pub kept: Kept,
    /// The number of items in it.
    pub kept_items: usize,
    /// The held items; `None` if nothing is held.
    pub held: Option<Held>,
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
) -> Result<Spliced, BadReply> {
    let tally = verdict::tally(verdicts, rules)?;
    check_edits(
        edits,
        count_targets(request, edits, rules.items),
        &rules.limits,
    )?;
    Ok(write(request, verdicts, edits, rules.items, tally))
}

/// Splices a request of this many items, by a reply that was checked and counted.
pub(crate) fn write(
    request: &[u8],
    verdicts: &[u8],
    edits: Edits<'_>,
    items: usize,
    tally: Tally,
) -> Spliced {
    let Tally {
        kept: kept_items,
        held,
        dropped,
    } = tally;
    let mut spliced = Spliced {
        kept: Kept::All,
        kept_items,
        held: None,
        dropped,
    };
    let nothing_left = kept_items == 0 && items > 0;
    if nothing_left {
        spliced.kept = Kept::Nothing;
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
    let held_items = Held::with_capacity(held, share(request.len(), held, items));
    let written = Writer::new(request, verdicts, targets(&ordered), edits.blob)
        .with_room(out_capacity, held_items)
        .run();
    if held > 0 {
        spliced.held = Some(written.held);
    }
    if !nothing_left {
        spliced.kept = Kept::Some(written.out);
    }
    spliced
}

/// Counts the targets of each kind in the batch. Resources and scopes are counted only if one is
/// edited.
fn count_targets(request: &[u8], edits: Edits<'_>, items: usize) -> Counts {
    let (quads, _) = edits.words.as_chunks::<4>();
    let of_items = Operation::Replace.number();
    if quads.iter().all(|edit| edit[0] <= of_items) {
        return Counts {
            items,
            resources: 0,
            scopes: 0,
        };
    }
    Counts {
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
        let start = quads.partition_point(|edit| place(edit).0 < Some(target));
        let end = quads.partition_point(|edit| place(edit).0 <= Some(target));
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
