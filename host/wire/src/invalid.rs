//! Why bytes are refused.

use alloc::string::String;
use core::fmt;

/// Why bytes are not a request that is accepted, or an item not one that is let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Invalid {
    /// Not protobuf, or not of this shape.
    Malformed {
        /// What was read when it failed.
        what: &'static str,
        /// Byte offset of the failure in the request.
        offset: usize,
    },
    /// Malformed in a place behind which nothing can be told apart, so that the whole request is lost.
    Unreadable {
        /// The place in words: `resource 2, span 17, attribute "db.statement"`. Of bounded length.
        place: String,
        /// What was read when it failed.
        what: &'static str,
        /// Byte offset of the failure in the request.
        offset: usize,
    },
    /// A text is not UTF-8.
    NotUtf8 {
        /// What the text stands in.
        what: &'static str,
        /// Byte offset of the text in the request.
        offset: usize,
    },
    /// An id has a wrong length.
    WrongId {
        /// What the id stands in.
        what: &'static str,
        /// How many bytes it has.
        len: usize,
        /// How many it must have.
        expected: usize,
        /// Byte offset of the id in the request.
        offset: usize,
    },
    /// A span has no trace id or no span id, or one of zeros.
    NoId,
    /// Values in values, deeper than the limit.
    TooDeep {
        /// The limit, in levels.
        limit: usize,
    },
    /// Valid so far, but more than a limit allows.
    OverLimit {
        /// Which limit.
        what: &'static str,
        /// Its value.
        limit: usize,
    },
}

impl Invalid {
    /// What is wrong, without the place.
    pub(crate) fn reason(&self) -> Reason<'_> {
        Reason(self)
    }

    fn offset(&self) -> Option<usize> {
        match self {
            Self::Malformed { offset, .. }
            | Self::Unreadable { offset, .. }
            | Self::NotUtf8 { offset, .. }
            | Self::WrongId { offset, .. } => Some(*offset),
            Self::NoId | Self::TooDeep { .. } | Self::OverLimit { .. } => None,
        }
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Self::Unreadable { place, .. } = self
            && !place.is_empty()
        {
            write!(f, "{place}: ")?;
        }
        self.reason().fmt(f)?;
        match self.offset() {
            Some(offset) => write!(f, " at byte {offset}"),
            None => Ok(()),
        }
    }
}

impl core::error::Error for Invalid {}

/// What is wrong, in words.
pub(crate) struct Reason<'a>(&'a Invalid);

impl fmt::Display for Reason<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Invalid::Malformed { what, .. } | Invalid::Unreadable { what, .. } => {
                write!(f, "malformed {what}")
            }
            Invalid::NotUtf8 { what, .. } => write!(f, "text in {what} that is not UTF-8"),
            Invalid::WrongId {
                what,
                len,
                expected,
                ..
            } => write!(f, "id in {what} of {len} bytes instead of {expected}"),
            Invalid::NoId => f.write_str("no valid trace id or span id: empty or all zero"),
            Invalid::TooDeep { limit } => write!(f, "more than {limit} levels of nested values"),
            Invalid::OverLimit { what, limit } => write!(f, "more than {limit} {what}"),
        }
    }
}
