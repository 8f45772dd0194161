//! Whether the ids of a span are valid.

use crate::field::step;
use crate::schema::{self, Kind, Shape};

/// The ids that a span must have, as bits.
pub(crate) const TRACE_ID: u8 = 1;
pub(crate) const SPAN_ID: u8 = 1 << 1;
/// Not an id, but that some id has a wrong length. A later one does not mend it: decoders that check
/// lengths (the OpenTelemetry Collector's) refuse the whole request for each.
const WRONG_LENGTH: u8 = 1 << 2;

/// What is wrong with the ids of a span, as far as it is read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ids(u8);

impl Ids {
    /// Those of a span of which nothing is read yet.
    pub(crate) const NONE: Self = Self(TRACE_ID | SPAN_ID);

    /// Reads one that must have this length if it is there at all, and is one of those that must be
    /// there, or none of them. Where one stands twice, the last counts.
    #[inline]
    pub(crate) fn read(&mut self, id: &[u8], len: usize, needed: u8) {
        if id.len() == len {
            self.0 = self.0 & !needed | if is_zero(id) { needed } else { 0 };
        } else if id.is_empty() {
            self.0 |= needed;
        } else {
            self.0 |= WRONG_LENGTH;
        }
    }

    #[inline]
    pub(crate) fn are_valid(self) -> bool {
        self.0 == 0
    }

    /// Reads all ids in a valid message, and in the messages inside it.
    fn read_all(&mut self, shape: &Shape, message: &[u8]) {
        let mut rest = message;
        while let Some(step) = step(rest) {
            rest = step.rest;
            let number = usize::try_from(step.key >> 3).unwrap_or(usize::MAX);
            match shape.fields.get(number) {
                Some(Kind::IdInSpan { len, needed }) => self.read(step.content, *len, *needed),
                Some(Kind::Message(inner)) => self.read_all(inner, step.content),
                _ => {}
            }
        }
    }
}

/// Whether all ids in a valid span are as OTLP wants them: a trace id and a span id that are not
/// zero, and of a parent and of links none, or one of the right length.
pub(crate) fn are_valid(span: &[u8]) -> bool {
    let mut ids = Ids::NONE;
    ids.read_all(&schema::SPAN, span);
    ids.are_valid()
}

/// Whether an id of 8 or 16 bytes is all zero.
#[inline]
fn is_zero(id: &[u8]) -> bool {
    match (id.first_chunk::<8>(), id.last_chunk::<8>()) {
        (Some(first), Some(last)) => u64::from_ne_bytes(*first) | u64::from_ne_bytes(*last) == 0,
        _ => true,
    }
}
