//! What tells one span from another.

use std::hash::{Hash, Hasher};

use spandrel_guest::Span;

/// Trace id and span id, whole: no span is ever dropped because its hash is another's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ids([u64; 3]);

impl Ids {
    pub(crate) const BYTES: usize = 24;

    pub(crate) fn of(span: &Span<'_>) -> Option<Self> {
        let (high, low) = span.trace_id().split_first_chunk()?;
        Some(Self([
            u64::from_le_bytes(*high),
            u64::from_le_bytes(low.try_into().ok()?),
            u64::from_le_bytes(span.span_id().try_into().ok()?),
        ]))
    }

    pub(crate) fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        for (bytes, word) in bytes.as_chunks_mut().0.iter_mut().zip(self.0) {
            *bytes = word.to_le_bytes();
        }
        bytes
    }

    pub(crate) fn from_bytes(bytes: &[u8; Self::BYTES]) -> Self {
        let mut words = [0; 3];
        for (word, bytes) in words.iter_mut().zip(bytes.as_chunks().0) {
            *word = u64::from_le_bytes(*bytes);
        }
        Self(words)
    }
}

impl Hash for Ids {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        for word in self.0 {
            hasher.write_u64(word);
        }
    }
}
