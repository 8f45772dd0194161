//! Checks that texts are UTF-8, and replaces what is not.

use alloc::vec::Vec;

/// Returns true if bytes are UTF-8.
#[inline]
pub(crate) fn is_text(bytes: &[u8]) -> bool {
    is_ascii(bytes) || core::str::from_utf8(bytes).is_ok()
}

/// Returns true if bytes are ASCII. Most texts are short and ASCII: looking at sixteen bytes at a
/// time, at the last of them twice, beats the general check's set-up.
#[inline]
pub(crate) fn is_ascii(bytes: &[u8]) -> bool {
    let mut seen = 0;
    if let Some(last) = bytes.last_chunk::<16>() {
        let mut all = *last;
        for chunk in bytes.as_chunks::<16>().0 {
            for (all, byte) in all.iter_mut().zip(chunk) {
                *all |= byte;
            }
        }
        seen = u128::from_le_bytes(all);
    } else if let (Some(first), Some(last)) = (bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) {
        seen = u128::from(u64::from_le_bytes(*first) | u64::from_le_bytes(*last));
    } else {
        for byte in bytes {
            seen |= u128::from(*byte);
        }
    }
    seen & 0x8080_8080_8080_8080_8080_8080_8080_8080 == 0
}

/// Writes a text with U+FFFD in place of what is not UTF-8, as [`str::from_utf8`] finds it: one for
/// each sequence that is cut short, and one for each byte that cannot begin a sequence. Returns
/// `None`, with part of the text written, if that makes `out` longer than `most`.
pub(crate) fn write_replaced(out: &mut Vec<u8>, text: &[u8], most: usize) -> Option<()> {
    for chunk in text.utf8_chunks() {
        out.extend_from_slice(chunk.valid().as_bytes());
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
        if out.len() > most {
            return None;
        }
    }
    Some(())
}
