//! Looks for the end of texts, sixteen bytes at a time.

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// The bytes of a JSON text that stand for themselves: those before the first quote, backslash or
/// control character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Plain {
    /// The number of bytes.
    pub(super) len: usize,
    /// True if all of them are ASCII.
    pub(super) is_ascii: bool,
}

/// Returns the plain bytes at the beginning.
#[inline(always)]
pub(super) fn plain(text: &[u8]) -> Plain {
    let mut rest = text;
    let mut seen = 0;
    while let Some((chunk, after)) = rest.split_first_chunk::<16>() {
        let [first, second] = words(chunk);
        let [in_first, in_second] = [stops(first), stops(second)];
        if in_first | in_second != 0 {
            let is_first = in_first != 0;
            let (word, stops) = if is_first {
                (first, in_first)
            } else {
                seen |= first;
                (second, in_second)
            };
            let bits = stops.trailing_zeros() & !7;
            seen |= word & !(u64::MAX << bits);
            let before = if is_first { 0 } else { 8 };
            return Plain {
                len: text.len() - rest.len() + before + (bits >> 3) as usize,
                is_ascii: seen & HIGH == 0,
            };
        }
        seen |= first | second;
        rest = after;
    }
    let is_ascii = seen & HIGH == 0;
    let len = text.len() - rest.len();
    last(rest, Plain { len, is_ascii })
}

#[inline(always)]
fn words(chunk: &[u8; 16]) -> [u64; 2] {
    let mut words = [0; 2];
    for (word, bytes) in words.iter_mut().zip(chunk.as_chunks::<8>().0) {
        *word = u64::from_le_bytes(*bytes);
    }
    words
}

/// Adds the last bytes of a text, fewer than sixteen. A whole document ends behind its last text, so
/// there this is rare.
#[inline(never)]
fn last(rest: &[u8], mut plain: Plain) -> Plain {
    let mut rest = rest;
    if let Some((chunk, after)) = rest.split_first_chunk::<8>() {
        let word = u64::from_le_bytes(*chunk);
        let stops = stops(word);
        if stops == 0 {
            plain.len += 8;
            plain.is_ascii &= word & HIGH == 0;
            rest = after;
        }
    }
    for byte in rest {
        if matches!(byte, b'"' | b'\\' | 0..0x20) {
            break;
        }
        plain.len += 1;
        plain.is_ascii &= byte.is_ascii();
    }
    plain
}

/// Returns a word whose lowest set bit is the high bit of the first byte that is a quote, a
/// backslash or a control character; 0 if there is none. Bits above the lowest may be wrong, because
/// subtractions borrow.
#[inline(always)]
fn stops(word: u64) -> u64 {
    // With bit 1 changed, a quote is a space, and no other byte comes down to where spaces and
    // control characters are but those themselves.
    let quote_or_control = (word ^ (ONES * 2)).wrapping_sub(ONES * 0x21);
    let backslash = (word ^ (ONES * b'\\' as u64)).wrapping_sub(ONES);
    (quote_or_control | backslash) & !word & HIGH
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::{Plain, plain};

    /// Every byte stops or does not, at every place of a word and behind every other byte.
    #[test]
    fn every_byte_at_every_place() {
        for at in 0..40 {
            for before in [b'a', 0x7f, 0x21, 0x23, 0x5b, 0x5d, 0x80, 0xff] {
                for byte in 0..=u8::MAX {
                    let mut text: Vec<u8> = alloc::vec![before; at];
                    text.push(byte);
                    text.extend(*b"more \"text\" and \\ more");
                    let is_stop = matches!(byte, b'"' | b'\\' | 0..0x20);
                    let len = if is_stop { at } else { at + 6 };
                    let is_ascii = text.get(..len).unwrap().is_ascii();
                    assert_eq!(plain(&text), Plain { len, is_ascii });
                    // The text ends without a stop.
                    text.truncate(at + 1);
                    let len = if is_stop { at } else { at + 1 };
                    assert_eq!(plain(&text).len, len);
                }
            }
        }
    }
}
