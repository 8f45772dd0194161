//! Edits in the encoding of the contract: four numbers for each edit, and one blob that they point
//! into.

use spandrel_wire::{Operation, SpanKind};

/// The number of recent snippets that a new one is compared with before it is stored. Plugins
/// mostly write the same few attributes on many spans; more than this many in turn is rare, and
/// then costs only bytes.
const REMEMBERED: usize = 8;

/// The longest snippet, in bytes, that is compared with earlier ones. Longer ones are always
/// stored.
const LONGEST_COMPARED: u32 = 1024;

/// A part of the blob.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Snippet {
    pub(crate) offset: u32,
    pub(crate) length: u32,
}

/// The edits collected so far. The buffers keep their capacity from batch to batch.
#[derive(Debug, Default)]
pub(crate) struct Edits {
    words: Vec<u32>,
    blob: Vec<u8>,
    recent: [Snippet; REMEMBERED],
    next: usize,
}

impl Edits {
    /// Forgets everything but the buffers' capacity.
    pub(crate) fn clear(&mut self) {
        self.words.clear();
        self.blob.clear();
        self.recent = [Snippet::default(); REMEMBERED];
        self.next = 0;
    }

    pub(crate) fn words(&self) -> &[u32] {
        &self.words
    }

    /// Returns the blob, or nothing if no edit points into it.
    pub(crate) fn blob_in_use(&self) -> &[u8] {
        if self.words.is_empty() {
            &[]
        } else {
            &self.blob
        }
    }

    pub(crate) fn push(&mut self, operation: Operation, index: u32, snippet: Snippet) {
        self.words
            .extend_from_slice(&[operation.number(), index, snippet.offset, snippet.length]);
    }

    /// Stores what `write` appends, or returns an equal one of the recent snippets.
    pub(crate) fn intern(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Snippet {
        let start = self.blob.len();
        write(&mut self.blob);
        let new = Snippet {
            offset: word(start),
            length: word(self.blob.len() - start),
        };
        if new.length > LONGEST_COMPARED {
            return new;
        }
        let (before, written) = self.blob.split_at(start);
        let known = self.recent.iter().find(|known| {
            known.length == new.length
                && before
                    .get(known.offset as usize..)
                    .is_some_and(|rest| rest.starts_with(written))
        });
        if let Some(&known) = known {
            self.blob.truncate(start);
            return known;
        }
        if let Some(slot) = self.recent.get_mut(self.next % REMEMBERED) {
            *slot = new;
        }
        self.next = self.next.wrapping_add(1);
        new
    }

    /// Removes the latest edits, as long as they belong to this item.
    pub(crate) fn retract(&mut self, item: u32) {
        while let Some(&[operation, index, _, _]) = self.words.last_chunk::<4>()
            && index == item
            && operation <= Operation::Replace.number()
        {
            self.words.truncate(self.words.len() - 4);
        }
    }

    /// Removes the edits of this index and of all later ones. The list must be ordered by index, as
    /// an emission's is.
    pub(crate) fn truncate(&mut self, index: u32) {
        let (edits, _) = self.words.as_chunks::<4>();
        let kept = edits.partition_point(|&[_, of, _, _]| of < index);
        self.words.truncate(kept * 4);
    }

    /// Appends the edits of one index of another list, under a new index. The other list must be
    /// ordered by index, as an emission's is: each item is released once, then edited.
    pub(crate) fn adopt(&mut self, other: &Self, from: u32, to: u32) {
        let (edits, _) = other.words.as_chunks::<4>();
        let first = edits.partition_point(|&[_, index, _, _]| index < from);
        let of_index = edits.iter().skip(first);
        for &[operation, index, offset, length] in of_index {
            if index != from {
                break;
            }
            let (start, end) = (offset as usize, offset as usize + length as usize);
            let snippet = match other.blob.get(start..end) {
                Some(bytes) if operation != Operation::SetKind.number() => {
                    self.intern(|blob| blob.extend_from_slice(bytes))
                }
                // The kind is a number in the words and takes no part of the blob.
                _ => Snippet { offset, length },
            };
            self.words
                .extend_from_slice(&[operation, to, snippet.offset, snippet.length]);
        }
    }
}

/// Converts a number to the width of the contract's words.
#[expect(clippy::expect_used, reason = "a guest's memory ends at 4 GiB")]
pub(crate) fn word(number: usize) -> u32 {
    u32::try_from(number).expect("offsets and counts of one batch fit 32 bits")
}

/// Encodes a kind as a snippet: the offset is the number of the kind.
pub(crate) fn kind_snippet(kind: SpanKind) -> Snippet {
    Snippet {
        offset: kind.number(),
        length: 0,
    }
}
