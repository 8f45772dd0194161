//! Errors in a plugin's reply.

use core::fmt;

use crate::check::invalid::Invalid;

/// An error in a plugin's reply, and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadReply {
    /// Verdicts for more or fewer items than there are.
    VerdictCount {
        /// The number of verdicts.
        verdicts: usize,
        /// The number of items.
        items: usize,
    },
    /// A drop for a reason that the plugin does not have.
    Reason {
        /// The first item with it.
        item: usize,
        /// The reason's index.
        reason: u8,
        /// The number of reasons that the plugin has.
        reasons: usize,
    },
    /// A hold from a plugin that did not say that it holds.
    Hold {
        /// The first item with it.
        item: usize,
    },
    /// Edits that are not four words each.
    EditWords {
        /// The number of words.
        words: usize,
    },
    /// An edit with an operation that does not exist, or is not allowed here.
    Operation {
        /// The edit.
        edit: usize,
        /// The operation's number.
        operation: u32,
    },
    /// An edit of something that is not there.
    Index {
        /// The edit.
        edit: usize,
        /// The kind that the index counts: item, resource or scope.
        target: &'static str,
        /// The index that the edit names.
        index: u32,
        /// The number that exist.
        count: usize,
    },
    /// An edit that points outside of the blob.
    Range {
        /// The edit.
        edit: usize,
        /// The offset of its snippet.
        offset: u32,
        /// The length of its snippet.
        length: u32,
        /// The number of bytes in the blob.
        blob: usize,
    },
    /// An edit whose snippet is not what the operation takes.
    Snippet {
        /// The edit.
        edit: usize,
        /// The kind of snippet that the operation takes.
        wanted: &'static str,
        /// The reason why the snippet is not that, if there is more to say.
        cause: Option<Invalid>,
    },
    /// Edits that add more bytes than a batch may grow by.
    Growth {
        /// The bytes that edits may add.
        limit: usize,
    },
    /// A release of something that is not held.
    NotHeld {
        /// The position that it names among the held items.
        position: usize,
        /// The number of held items.
        held: usize,
    },
}

impl fmt::Display for BadReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::VerdictCount { verdicts, items } => {
                write!(f, "verdicts: {verdicts} bytes for {items} items")
            }
            Self::Reason {
                item,
                reason,
                reasons,
            } => write!(
                f,
                "verdict of item {item}: drop reason {reason} of {reasons}"
            ),
            Self::Hold { item } => {
                write!(
                    f,
                    "verdict of item {item}: hold from a plugin that does not hold"
                )
            }
            Self::EditWords { words } => write!(f, "edits: {words} words, not four for each"),
            Self::Operation { edit, operation } => write!(f, "edit {edit}: operation {operation}"),
            Self::Index {
                edit,
                target,
                index,
                count,
            } => write!(f, "edit {edit}: {target} {index} of {count}"),
            Self::Range {
                edit,
                offset,
                length,
                blob,
            } => write!(
                f,
                "edit {edit}: {length} bytes at {offset} of a blob of {blob}"
            ),
            Self::Snippet { edit, wanted, .. } => write!(f, "edit {edit}: snippet is not {wanted}"),
            Self::Growth { limit } => write!(f, "edits: more than {limit} bytes in all"),
            Self::NotHeld { position, held } => write!(f, "release: position {position} of {held}"),
        }
    }
}

impl core::error::Error for BadReply {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Snippet { cause, .. } => cause.as_ref().map(|cause| cause as _),
            _ => None,
        }
    }
}
