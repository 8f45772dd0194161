//! The reasons why a text is not a request.

use alloc::string::String;
use core::fmt;

/// The reason why a text is not OTLP/JSON of the expected kind. It names the place by its JSON path
/// and by its byte, and says what should stand there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonError {
    path: String,
    offset: usize,
    expected: Expected,
}

/// The thing that should stand where something else stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    /// In words.
    This(&'static str),
    /// No more than this number of levels of values.
    Levels(u32),
}

impl JsonError {
    pub(super) fn new(path: String, offset: usize, expected: Expected) -> Self {
        Self {
            path,
            offset,
            expected,
        }
    }

    /// Returns the path of the value that is wrong, `resourceSpans[0].scopeSpans[2].spans[1].traceId`.
    /// It is empty if the document itself is wrong, and its length is bounded.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Returns the byte offset in the text.
    pub fn offset(&self) -> usize {
        self.offset
    }
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        match self.expected {
            Expected::This(words) => write!(f, "expected {words}")?,
            Expected::Levels(limit) => {
                write!(f, "expected at most {limit} levels of nested values")?;
            }
        }
        write!(f, " at byte {}", self.offset)
    }
}

impl core::error::Error for JsonError {}
