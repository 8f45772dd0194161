//! Base64, as proto3's JSON takes it: the standard and the URL-safe alphabet, with or without
//! padding.

use alloc::vec::Vec;

const ALPHABET: [u8; 64] = *b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// The value of bytes that are no digit.
const NONE: u8 = 64;

/// The value of each byte.
static VALUES: [u8; 256] = values();

#[expect(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "it is computed by the compiler, and digits are fewer than 256"
)]
const fn values() -> [u8; 256] {
    let mut values = [NONE; 256];
    let mut digit = 0;
    while digit < ALPHABET.len() {
        values[ALPHABET[digit] as usize] = digit as u8;
        digit += 1;
    }
    values[b'-' as usize] = 62;
    values[b'_' as usize] = 63;
    values
}

/// Appends the bytes that a text stands for. Returns `None` if the text is not base64, with some
/// bytes appended.
pub(super) fn read(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let digits = without_padding(text)?;
    let (quads, last) = digits.as_chunks::<4>();
    out.reserve(quads.len() * 3 + 2);
    for quad in quads {
        let [_, bytes @ ..] = bits(quad)?.to_be_bytes();
        out.extend_from_slice(&bytes);
    }
    match last {
        [] => {}
        [one, two] => {
            let [_, byte, ..] = bits(&[*one, *two, b'A', b'A'])?.to_be_bytes();
            out.push(byte);
        }
        [one, two, three] => {
            let [_, bytes @ .., _] = bits(&[*one, *two, *three, b'A'])?.to_be_bytes();
            out.extend_from_slice(&bytes);
        }
        // Six bits are no byte.
        _ => return None,
    }
    Some(())
}

/// Returns the digits without the padding that fills up the last four.
fn without_padding(text: &[u8]) -> Option<&[u8]> {
    let digits = match text {
        [digits @ .., b'=', b'='] | [digits @ .., b'='] => digits,
        digits => return Some(digits),
    };
    text.len().is_multiple_of(4).then_some(digits)
}

#[inline(always)]
fn bits(quad: &[u8; 4]) -> Option<u32> {
    let mut bits = 0;
    let mut wrong = 0;
    for digit in quad {
        let value = VALUES.get(usize::from(*digit)).copied().unwrap_or(NONE);
        wrong |= value;
        bits = bits << 6 | u32::from(value);
    }
    (wrong < NONE).then_some(bits)
}

/// Writes bytes in the standard alphabet, with padding.
pub(super) fn write(out: &mut Vec<u8>, bytes: &[u8]) {
    let digit = |value: u32| {
        let digit = usize::try_from(value & 0x3f)
            .ok()
            .and_then(|at| ALPHABET.get(at));
        digit.copied().unwrap_or(b'=')
    };
    for three in bytes.chunks(3) {
        let mut bits = 0;
        for place in 0..3 {
            bits = bits << 8 | u32::from(three.get(place).copied().unwrap_or(0));
        }
        let mut quad = [bits >> 18, bits >> 12, bits >> 6, bits].map(digit);
        if three.len() < 3 {
            quad[3] = b'=';
        }
        if three.len() < 2 {
            quad[2] = b'=';
        }
        out.extend_from_slice(&quad);
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::{read, write};

    fn bytes(text: &str) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        read(text.as_bytes(), &mut out).map(|()| out)
    }

    /// Both alphabets are read, with and without padding, and nothing else is.
    #[test]
    fn forms() {
        for (text, expected) in [
            ("", &b""[..]),
            ("Zg==", b"f"),
            ("Zg", b"f"),
            ("Zm8=", b"fo"),
            ("Zm8", b"fo"),
            ("Zm9v", b"foo"),
            ("-_-_", &[0xfb, 0xff, 0xbf]),
            ("+/+/", &[0xfb, 0xff, 0xbf]),
        ] {
            assert_eq!(bytes(text).as_deref(), Some(expected), "{text}");
        }
        for text in [
            "Z", "Zg=", "=", "==", "====", "Zm9v=", "Zm9v====", "Z m8", "Zg==Zg==", "Zm9vZ",
        ] {
            assert_eq!(bytes(text), None, "{text}");
        }
    }

    /// The written text is read again.
    #[test]
    fn round_trip() {
        for len in 0..70_u8 {
            let given: Vec<u8> = (0..len).map(|byte| byte.wrapping_mul(37)).collect();
            let mut text = Vec::new();
            write(&mut text, &given);
            assert_eq!(bytes(core::str::from_utf8(&text).unwrap()), Some(given));
        }
    }
}
