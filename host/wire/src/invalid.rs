//! Why bytes are refused.

use core::fmt;

/// Why bytes are not a request that is accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Invalid {
    /// Not protobuf, or not of this shape.
    Malformed {
        /// What was read when it failed.
        what: &'static str,
        /// Byte offset of the failure in the request.
        offset: usize,
    },
    /// Valid so far, but more than a limit allows.
    OverLimit {
        /// Which limit.
        what: &'static str,
        /// Its value.
        limit: usize,
    },
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed { what, offset } => write!(f, "malformed {what} at byte {offset}"),
            Self::OverLimit { what, limit } => write!(f, "more than {limit} {what}"),
        }
    }
}

impl core::error::Error for Invalid {}
