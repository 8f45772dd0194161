//! What is wrong with a plugin's reply.

use core::fmt;

use crate::invalid::Invalid;

/// What is wrong with a plugin's reply, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadReply {
    /// Verdicts for more or fewer items than there are.
    VerdictCount {
        /// Verdicts said.
        verdicts: usize,
        /// Items there are.
        items: usize,
    },
    /// A drop for a reason that the plugin does not have.
    Reason {
        /// The first item with it.
        item: usize,
        /// The reason's index.
        reason: u8,
        /// How many reasons there are.
        reasons: usize,
    },
    /// A hold from a plugin that did not say that it holds.
    Hold {
        /// The first item with it.
        item: usize,
    },
    /// Edits that are not four words each.
    EditWords {
        /// Words there are.
        words: usize,
    },
    /// An edit with an operation that does not exist, or not here.
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
        /// What it counts: item, resource or scope.
        target: &'static str,
        /// Which one it names.
        index: u32,
        /// How many there are.
        count: usize,
    },
    /// An edit that points outside of the blob.
    Range {
        /// The edit.
        edit: usize,
        /// Where its snippet would begin.
        offset: u32,
        /// How long it would be.
        length: u32,
        /// Bytes that the blob has.
        blob: usize,
    },
    /// An edit whose snippet is not what the operation takes.
    Snippet {
        /// The edit.
        edit: usize,
        /// What the operation takes.
        wanted: &'static str,
        /// Why the snippet is not that, where there is more to say.
        cause: Option<Invalid>,
    },
    /// Edits that add more bytes than a batch may grow by.
    Growth {
        /// Bytes that edits may add.
        limit: usize,
    },
    /// A release of something that is not held.
    NotHeld {
        /// Its position among the items that are.
        position: usize,
        /// How many there are.
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
