//! Checks that the ids of a span are valid.

/// The bits for the ids that a span must have.
pub(crate) const TRACE_ID: u8 = 1;
pub(crate) const SPAN_ID: u8 = 1 << 1;
/// The bit for a wrong length of any id. A later id does not clear it: decoders that check lengths
/// (the OpenTelemetry Collector's) refuse the whole request for each wrong length.
const WRONG_LENGTH: u8 = 1 << 2;

/// The problems with the ids of a span, as far as it is read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ids(u8);

impl Ids {
    /// The state for a span of which nothing is read yet.
    pub(crate) const NONE: Self = Self(TRACE_ID | SPAN_ID);

    /// Reads an id that must have this length if it is there at all. `needed` is its bit if it must
    /// be there, otherwise 0. If an id stands twice, the last counts.
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
}

/// Returns true if an id of 8 or 16 bytes is all zero.
#[inline]
fn is_zero(id: &[u8]) -> bool {
    match (id.first_chunk::<8>(), id.last_chunk::<8>()) {
        (Some(first), Some(last)) => u64::from_ne_bytes(*first) | u64::from_ne_bytes(*last) == 0,
        _ => true,
    }
}
