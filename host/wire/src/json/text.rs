//! The escapes of JSON texts.

use alloc::vec::Vec;

use crate::json::scan;

/// Appends what a text with escapes stands for, and returns the number of surrogates that have no
/// partner. Each is replaced by U+FFFD: JavaScript writes such escapes for texts that were cut
/// between the halves of a character. Returns the offset of the first escape that is not one of
/// JSON's.
///
/// No escape is shorter than what it stands for.
pub(super) fn unescape(text: &[u8], out: &mut Vec<u8>) -> Result<usize, usize> {
    let mut rest = text;
    let mut alone = 0;
    loop {
        let plain = scan::plain(rest).len;
        let Some((plain, after)) = rest.split_at_checked(plain) else {
            return Ok(alone);
        };
        out.extend_from_slice(plain);
        let [b'\\', escape @ ..] = after else {
            return Ok(alone);
        };
        let at = text.len() - after.len();
        let (char, len) = one_escape(escape).ok_or(at)?;
        alone += usize::from(char.is_none());
        let mut bytes = [0; 4];
        let char = char.unwrap_or(char::REPLACEMENT_CHARACTER);
        out.extend_from_slice(char.encode_utf8(&mut bytes).as_bytes());
        rest = escape.get(len..).unwrap_or_default();
    }
}

/// Returns the character of the escape that stands behind a backslash, and the bytes that it takes.
/// The character is `None` if it is half a pair.
fn one_escape(escape: &[u8]) -> Option<(Option<char>, usize)> {
    let char = match escape.first()? {
        b'"' => '"',
        b'\\' => '\\',
        b'/' => '/',
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => return unicode_escape(escape.get(1..)?),
        _ => return None,
    };
    Some((Some(char), 1))
}

fn unicode_escape(digits: &[u8]) -> Option<(Option<char>, usize)> {
    let first = four_digits(digits)?;
    if let 0xd800..0xdc00 = first
        && let Some([b'\\', b'u', second @ ..]) = digits.get(4..)
        && let Some(second @ 0xdc00..0xe000) = four_digits(second)
    {
        let code = 0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00);
        return Some((char::from_u32(code), 11));
    }
    Some((char::from_u32(first), 5))
}

fn four_digits(digits: &[u8]) -> Option<u32> {
    let mut value = 0;
    for digit in digits.first_chunk::<4>()? {
        value = value << 4 | char::from(*digit).to_digit(16)?;
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use alloc::string::String;
    use alloc::vec::Vec;

    use super::unescape;

    fn read(text: &str) -> Result<(String, usize), usize> {
        let mut out = Vec::new();
        let alone = unescape(text.as_bytes(), &mut out)?;
        Ok((String::from_utf8(out).unwrap(), alone))
    }

    /// All escapes of JSON are read, and no others.
    #[test]
    fn escapes() {
        let good = |text: &str, expected: &str, alone| {
            assert_eq!(read(text), Ok((expected.into(), alone)), "{text}");
        };
        good(r#"a\"\\\/\b\f\n\r\tz"#, "a\"\\/\u{8}\u{c}\n\r\tz", 0);
        good(r"\u0041\u00fc\u20AC\u0000", "Aü€\0", 0);
        good(r"\ud83d\ude00", "😀", 0);
        good(r"\ud83d", "\u{fffd}", 1);
        good(r"cut \ud83d!", "cut \u{fffd}!", 1);
        good(r"\ude00\ud83d", "\u{fffd}\u{fffd}", 2);
        good(r"\ud83d\ud83d\ude00", "\u{fffd}😀", 1);
        good(r"\ud83d\u0041", "\u{fffd}A", 1);
        good(r"\ud83d\n", "\u{fffd}\n", 1);
        for (text, at) in [
            (r"ab\x", 2),
            (r"\", 0),
            (r"a\u12", 1),
            (r"\u12g4", 0),
            (r"\n\U0041", 2),
        ] {
            assert_eq!(read(text), Err(at), "{text}");
        }
    }
}
