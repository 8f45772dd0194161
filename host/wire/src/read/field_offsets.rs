//! Finds the places of the fields of a span.

use crate::read::field::skip_field;
use crate::read::span::Span;

/// The end of the field numbers of spans.
const FIELDS: usize = 17;

/// Attributes, events, links and pieces of the status: fields that are read from the first on. For
/// all others the last counts.
const FROM_FIRST: u32 = 1 << 9 | 1 << 11 | 1 << 13 | 1 << 15;

/// The places of the fields of a span, found in one walk, for readers that ask for more than one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FieldOffsets {
    /// The start of the last field of each number, or of the first for those that are read from it
    /// on.
    starts: [u32; FIELDS],
    /// The end of the last field of each number; 0 if there is none.
    ends: [u32; FIELDS],
}

impl FieldOffsets {
    /// Walks through a span and forgets the one before. Returns false if the span is longer than
    /// the offsets here can say.
    pub fn read(&mut self, span: Span<'_>) -> bool {
        let bytes = span.bytes();
        let Ok(total) = u32::try_from(bytes.len()) else {
            return false;
        };
        // A field without an end is not there, so the starts need no reset.
        self.ends = [0; FIELDS];
        let mut rest = bytes;
        let mut start = 0;
        while let Some(skipped) = skip_field(rest) {
            rest = skipped.rest;
            #[expect(clippy::cast_possible_truncation, reason = "the whole fits")]
            let end = total - rest.len() as u32;
            let number = (skipped.key >> 3) as usize;
            if let Some(place) = self.starts.get_mut(number)
                && let Some(last_end) = self.ends.get_mut(number)
            {
                if *last_end == 0 || FROM_FIRST >> number & 1 == 0 {
                    *place = start;
                }
                *last_end = end;
            }
            start = end;
        }
        true
    }

    /// Returns the part of the same span in which a field stands, as a span that reads the same for
    /// that field.
    #[inline]
    pub fn part<'a>(&self, span: Span<'a>, field: usize) -> Span<'a> {
        let range = || Some(*self.starts.get(field)? as usize..*self.ends.get(field)? as usize);
        let part = range().and_then(|range| span.bytes().get(range));
        Span::new(part.unwrap_or_default())
    }
}
