//! Hexadecimal digits of ids, in any case.

const ONES: u64 = 0x0101_0101_0101_0101;

/// Returns the bytes of an id that `digits` spell. Returns `None` if they are too many or too few,
/// or not digits.
#[inline(always)]
pub(super) fn id<const BYTES: usize>(digits: &[u8]) -> Option<[u8; BYTES]> {
    if digits.len() != 2 * BYTES {
        return None;
    }
    let mut id = [0; BYTES];
    let mut wrong = 0;
    for (four, eight) in id
        .as_chunks_mut::<4>()
        .0
        .iter_mut()
        .zip(digits.as_chunks::<8>().0)
    {
        let (bytes, bad) = four_bytes(u64::from_le_bytes(*eight));
        *four = bytes;
        wrong |= bad;
    }
    (wrong == 0).then_some(id)
}

/// Returns the id in quotes that a text begins with.
#[inline(always)]
pub(super) fn quoted_id<const BYTES: usize>(text: &[u8]) -> Option<[u8; BYTES]> {
    let (digits, after) = text.strip_prefix(b"\"")?.split_at_checked(2 * BYTES)?;
    if after.first() != Some(&b'"') {
        return None;
    }
    id(digits)
}

/// Reads eight digits at once. The second result is 0 if all of them are digits.
#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "the upper half is zero by then"
)]
fn four_bytes(digits: u64) -> ([u8; 4], u64) {
    // Letters have bit 6, numerals do not.
    let letters = digits >> 6 & ONES;
    let values = (digits & (ONES * 0x0f)) + letters * 9;
    // Written in lower case again, they must be what stood there.
    let above_nine = (values + ONES * 0x76) >> 7 & ONES;
    let again = values + ONES * 0x30 + above_nine * 0x27;
    let wrong = (again ^ (digits | letters << 5)) | (values & (ONES * 0xf0));
    let pairs = (values << 4 | values >> 8) & 0x00ff_00ff_00ff_00ff;
    let pairs = (pairs | pairs >> 8) & 0x0000_ffff_0000_ffff;
    let pairs = (pairs | pairs >> 16) as u32;
    (pairs.to_le_bytes(), wrong)
}

/// Writes an id in lower case.
pub(super) fn write(out: &mut alloc::vec::Vec<u8>, id: &[u8]) {
    const DIGITS: [u8; 16] = *b"0123456789abcdef";
    for byte in id {
        let [high, low] = [byte >> 4, byte & 0xf].map(|value| DIGITS.get(usize::from(value)));
        out.extend(high);
        out.extend(low);
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::{id, write};

    /// Every byte is a digit or refused, at every place.
    #[test]
    fn every_byte_at_every_place() {
        for at in 0..16 {
            for byte in 0..=u8::MAX {
                let mut digits = *b"00fFaA9912345678";
                digits[at] = byte;
                let expected: Option<Vec<u8>> = digits
                    .chunks(2)
                    .map(|pair| {
                        let text = core::str::from_utf8(pair).ok()?;
                        (!text.contains('+')).then(|| u8::from_str_radix(text, 16).ok())?
                    })
                    .collect();
                let read = id::<8>(&digits).map(|id| id.to_vec());
                assert_eq!(read, expected, "{byte} at {at}");
            }
        }
    }

    /// The written digits are read again, and other lengths are refused.
    #[test]
    fn lengths() {
        let mut text = Vec::new();
        write(&mut text, &[0, 1, 0xab, 0xff, 5, 6, 7, 8]);
        assert_eq!(text, b"0001abff05060708");
        assert_eq!(id::<8>(&text), Some([0, 1, 0xab, 0xff, 5, 6, 7, 8]));
        assert_eq!(id::<16>(&text), None);
        assert_eq!(id::<8>(&text[1..]), None);
    }
}
