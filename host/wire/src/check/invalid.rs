//! The reasons why bytes are refused.

use alloc::string::String;
use core::fmt;

/// The reason why bytes are not an accepted request, or an item is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Invalid {
    /// The bytes are not protobuf, or not of this shape.
    Malformed {
        /// The message that was read when it failed.
        what: &'static str,
        /// Byte offset of the failure in the request.
        offset: usize,
    },
    /// The bytes are malformed in a place behind which nothing can be told apart, so that the whole
    /// request is lost.
    Unreadable {
        /// The place in words: `resource 2, span 17, attribute "db.statement"`. It is bounded.
        place: String,
        /// The message that was read when it failed.
        what: &'static str,
        /// Byte offset of the failure in the request.
        offset: usize,
    },
    /// A text is not UTF-8.
    NotUtf8 {
        /// The message that the text stands in.
        what: &'static str,
        /// Byte offset of the text in the request.
        offset: usize,
    },
    /// An id has a wrong length.
    WrongId {
        /// The message that the id stands in.
        what: &'static str,
        /// The number of bytes that it has.
        len: usize,
        /// The number of bytes that it must have.
        expected: usize,
        /// Byte offset of the id in the request.
        offset: usize,
    },
    /// A span has no trace id or no span id, or one of zeros.
    NoId,
    /// Values are nested deeper than the limit.
    TooDeep {
        /// The limit, in levels.
        limit: usize,
    },
    /// The request is valid so far, but has more than a limit allows.
    OverLimit {
        /// The name of the limit.
        what: &'static str,
        /// Its value.
        limit: usize,
    },
}

impl Invalid {
    /// Returns the problem, without the place.
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

/// The problem in words.
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
