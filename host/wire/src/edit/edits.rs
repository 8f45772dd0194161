//! The changes that a plugin asks for.

use alloc::borrow::Cow;

use crate::check::limits::Limits;
use crate::check::schema::{self, Shape};
use crate::check::text::is_text;
use crate::check::validate::{WrongIds, check};
use crate::edit::bad_reply::BadReply;

/// The operation of an edit. Its number is the first of an edit's four words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Sets an attribute of an item; the snippet is a `KeyValue`.
    UpsertAttribute,
    /// Removes an attribute of an item; the snippet is the key.
    DeleteAttribute,
    /// Sets a span's name; the snippet is the name.
    SetName,
    /// Sets a span's kind; the offset is its number, the length 0.
    SetKind,
    /// Sets a span's status; the snippet is a `Status`.
    SetStatus,
    /// Puts another span in the place of one; the snippet is a `Span`.
    Replace,
    /// Sets an attribute of a resource; the snippet is a `KeyValue`.
    UpsertResourceAttribute,
    /// Removes an attribute of a resource; the snippet is the key.
    DeleteResourceAttribute,
    /// Sets an attribute of a scope; the snippet is a `KeyValue`.
    UpsertScopeAttribute,
    /// Removes an attribute of a scope; the snippet is the key.
    DeleteScopeAttribute,
}

/// The kind of target that an edit's index counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Target {
    Item,
    Resource,
    Scope,
}

impl Target {
    const fn label(self) -> &'static str {
        match self {
            Self::Item => "item",
            Self::Resource => "resource",
            Self::Scope => "scope",
        }
    }
}

impl Operation {
    const ALL: [Self; 10] = [
        Self::UpsertAttribute,
        Self::DeleteAttribute,
        Self::SetName,
        Self::SetKind,
        Self::SetStatus,
        Self::Replace,
        Self::UpsertResourceAttribute,
        Self::DeleteResourceAttribute,
        Self::UpsertScopeAttribute,
        Self::DeleteScopeAttribute,
    ];

    /// Returns the operation's number.
    #[inline]
    pub const fn number(self) -> u32 {
        self as u32
    }

    /// Returns the operation with this number.
    #[inline]
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.get(usize::try_from(number).ok()?).copied()
    }

    #[inline]
    pub(crate) const fn target(self) -> Target {
        match self {
            Self::UpsertAttribute
            | Self::DeleteAttribute
            | Self::SetName
            | Self::SetKind
            | Self::SetStatus
            | Self::Replace => Target::Item,
            Self::UpsertResourceAttribute | Self::DeleteResourceAttribute => Target::Resource,
            Self::UpsertScopeAttribute | Self::DeleteScopeAttribute => Target::Scope,
        }
    }

    const fn content(self) -> Content {
        match self {
            Self::UpsertAttribute | Self::UpsertResourceAttribute | Self::UpsertScopeAttribute => {
                Content::Message("a KeyValue", &schema::KEY_VALUE)
            }
            Self::DeleteAttribute | Self::DeleteResourceAttribute | Self::DeleteScopeAttribute => {
                Content::Text("a key")
            }
            Self::SetName => Content::Text("a name"),
            Self::SetKind => Content::Kind,
            Self::SetStatus => Content::Message("a Status", &schema::STATUS),
            Self::Replace => Content::Message("a Span", &schema::SPAN),
        }
    }
}

/// The content that an operation takes.
enum Content {
    Message(&'static str, &'static Shape),
    Text(&'static str),
    Kind,
}

/// The edits of a reply as they cross the boundary: operation, index, offset and length for each,
/// and the blob that offset and length point into.
#[derive(Clone, Copy, Debug, Default)]
pub struct Edits<'a> {
    /// Four words for each edit.
    pub words: &'a [u32],
    /// The snippets.
    pub blob: &'a [u8],
}

/// The four words of an edit.
pub(crate) type Edit = [u32; 4];

impl<'a> Edits<'a> {
    /// Returns true if there are no edits.
    pub const fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// Returns the most bytes that they add to a batch, for untrusted words as well.
    pub fn added_bytes(&self) -> usize {
        let (edits, _) = self.words.as_chunks::<4>();
        edits.iter().fold(0, |sum: usize, [_, _, _, length]| {
            sum.saturating_add(usize::try_from(*length).unwrap_or(usize::MAX))
        })
    }

    /// Returns the words of these edits, items first, ordered by index. Edits of one target stay in
    /// the order in which they stand. The words are borrowed if they are in that order already, as
    /// they mostly are.
    pub fn ordered(&self) -> Cow<'a, [u32]> {
        let (edits, _) = self.words.as_chunks::<4>();
        if edits.is_sorted_by_key(rank) {
            return Cow::Borrowed(edits.as_flattened());
        }
        let mut ordered = edits.to_vec();
        ordered.sort_by_key(order_key);
        Cow::Owned(ordered.into_flattened())
    }

    /// Returns the edits of one item, from words that are [ordered](Edits::ordered).
    pub fn of_item(&self, index: u32) -> Self {
        let (edits, _) = self.words.as_chunks::<4>();
        let start = edits.partition_point(|edit| order_key(edit) < (Some(Target::Item), index));
        let end = edits.partition_point(|edit| order_key(edit) <= (Some(Target::Item), index));
        Self {
            words: edits.get(start..end).unwrap_or_default().as_flattened(),
            blob: self.blob,
        }
    }
}

/// Returns the key that edits are ordered by. Operations that do not exist stand first, and are
/// refused.
#[inline]
pub(crate) fn order_key([operation, index, _, _]: &Edit) -> (Option<Target>, u32) {
    (
        Operation::from_number(*operation).map(Operation::target),
        *index,
    )
}

/// Returns a number that orders edits as [`order_key`] does. It is fast, because every reply is
/// checked for its order.
#[inline]
fn rank([operation, index, _, _]: &Edit) -> u64 {
    let target: u64 = match operation {
        0..=5 => 1,
        6 | 7 => 2,
        8 | 9 => 3,
        _ => 0,
    };
    target << 32 | u64::from(*index)
}

/// Returns the snippet of an edit that was checked.
#[inline]
pub(crate) fn snippet<'a>(blob: &'a [u8], [_, _, offset, length]: &Edit) -> &'a [u8] {
    range(blob, *offset, *length).unwrap_or_default()
}

fn range(blob: &[u8], offset: u32, length: u32) -> Option<&[u8]> {
    let offset = usize::try_from(offset).ok()?;
    blob.get(offset..)?.get(..usize::try_from(length).ok()?)
}

/// The number of targets of each kind that can be edited.
#[derive(Clone, Copy)]
pub(crate) struct TargetCounts {
    pub(crate) items: usize,
    pub(crate) resources: usize,
    pub(crate) scopes: usize,
}

/// Checks edits of a batch with this many items, resources and scopes.
pub(crate) fn check_edits(
    edits: Edits<'_>,
    counts: TargetCounts,
    limits: &Limits,
) -> Result<(), BadReply> {
    let (quads, rest) = edits.words.as_chunks::<4>();
    if !rest.is_empty() {
        return Err(BadReply::EditWords {
            words: edits.words.len(),
        });
    }
    let mut checked = SnippetCache::new();
    let mut growth = 0_usize;
    for (number, quad) in quads.iter().enumerate() {
        let [word, index, _, length] = *quad;
        let operation = Operation::from_number(word).ok_or(BadReply::Operation {
            edit: number,
            operation: word,
        })?;
        let target = operation.target();
        let count = match target {
            Target::Item => counts.items,
            Target::Resource => counts.resources,
            Target::Scope => counts.scopes,
        };
        if usize::try_from(index).map_or(true, |index| index >= count) {
            return Err(BadReply::Index {
                edit: number,
                target: target.label(),
                index,
                count,
            });
        }
        growth = growth.saturating_add(usize::try_from(length).unwrap_or(usize::MAX));
        if growth > limits.edit_bytes {
            return Err(BadReply::Growth {
                limit: limits.edit_bytes,
            });
        }
        if !checked.has(quad) {
            check_snippet(number, operation, quad, edits.blob, limits)?;
            checked.add(quad);
        }
    }
    Ok(())
}

/// Checks the edits of an emission that forwards this many items: only operations on items are
/// allowed.
pub fn check_item_edits(edits: Edits<'_>, items: usize, limits: &Limits) -> Result<(), BadReply> {
    let counts = TargetCounts {
        items,
        resources: 0,
        scopes: 0,
    };
    let (quads, _) = edits.words.as_chunks::<4>();
    let foreign = |edit: &Edit| {
        Operation::from_number(edit[0]).is_some_and(|known| known.target() != Target::Item)
    };
    if let Some(edit) = quads.iter().position(foreign) {
        return Err(BadReply::Operation {
            edit,
            operation: quads.get(edit).map_or(0, |words| words[0]),
        });
    }
    check_edits(edits, counts, limits)
}

fn check_snippet(
    edit: usize,
    operation: Operation,
    &[_, _, offset, length]: &Edit,
    blob: &[u8],
    limits: &Limits,
) -> Result<(), BadReply> {
    let wrong = |wanted, cause| BadReply::Snippet {
        edit,
        wanted,
        cause,
    };
    if matches!(operation.content(), Content::Kind) {
        let fits = length == 0 && i32::try_from(offset).is_ok();
        return fits.then_some(()).ok_or(wrong("a kind's number", None));
    }
    let snippet = range(blob, offset, length).ok_or(BadReply::Range {
        edit,
        offset,
        length,
        blob: blob.len(),
    })?;
    match operation.content() {
        Content::Message(wanted, shape) => check(shape, snippet, limits, WrongIds::Refused)
            .map(|_| ())
            .map_err(|cause| wrong(wanted, Some(cause))),
        Content::Text(wanted) if !is_text(snippet) => Err(wrong(wanted, None)),
        Content::Text(_) | Content::Kind => Ok(()),
    }
}

/// The snippets that were checked last. Edits of many items mostly point to the same few snippets.
struct SnippetCache([Edit; Self::SLOTS]);

impl SnippetCache {
    /// The number of slots. It is enough for the attributes that a plugin sets on everything, and
    /// small on the stack.
    const SLOTS: usize = 64;

    /// An empty slot. No operation has this number, so no edit is found in it.
    const EMPTY: Edit = [u32::MAX; 4];

    const fn new() -> Self {
        Self([Self::EMPTY; Self::SLOTS])
    }

    fn slot([operation, _, offset, length]: &Edit) -> usize {
        let mixed = operation
            .wrapping_mul(0x9e37)
            .wrapping_add(offset.wrapping_mul(0x85eb_ca6b))
            .wrapping_add(*length)
            .wrapping_mul(0x9e37_79b1);
        (mixed >> 26) as usize
    }

    #[inline]
    fn has(&self, edit: &Edit) -> bool {
        self.0
            .get(Self::slot(edit))
            .is_some_and(|seen| (seen[0], seen[2], seen[3]) == (edit[0], edit[2], edit[3]))
    }

    fn add(&mut self, edit: &Edit) {
        if let Some(slot) = self.0.get_mut(Self::slot(edit)) {
            *slot = *edit;
        }
    }
}
