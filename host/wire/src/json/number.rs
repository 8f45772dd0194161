//! Numbers: integers of 64 bits and doubles, exactly.

/// The number of digits that always fit 64 bits.
const SAFE_DIGITS: usize = 19;

/// An integer, and the bytes that it took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Integer {
    pub(super) is_negative: bool,
    pub(super) magnitude: u64,
    pub(super) len: usize,
}

impl Integer {
    /// Returns it as an unsigned number.
    pub(super) fn unsigned(self) -> Option<u64> {
        (!self.is_negative || self.magnitude == 0).then_some(self.magnitude)
    }

    /// Returns it as a signed number.
    pub(super) fn signed(self) -> Option<i64> {
        if self.is_negative {
            0_i64.checked_sub_unsigned(self.magnitude)
        } else {
            i64::try_from(self.magnitude).ok()
        }
    }
}

/// Reads the integer that a text begins with. It may be written with a fraction of zeros or an
/// exponent (`1.0`, `1e3`), as proto3's JSON allows. Returns `None` if there is none, or if it does
/// not fit 64 bits.
#[inline]
pub(super) fn integer(text: &[u8]) -> Option<Integer> {
    let (is_negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    let (magnitude, len) = short_integer(digits)?;
    let sign = usize::from(is_negative);
    if matches!(digits.get(len), Some(b'0'..=b'9' | b'.' | b'e' | b'E')) {
        let decimal = Decimal::read(digits)?;
        return Some(Integer {
            is_negative,
            magnitude: decimal.integer()?,
            len: sign + decimal.len,
        });
    }
    Some(Integer {
        is_negative,
        magnitude,
        len: sign + len,
    })
}

/// Returns the integer of at most nine digits that a text begins with, and the bytes that it takes.
/// It must end the member of a list or object that it is. It fits all types but those of one bit.
#[inline(always)]
pub(super) fn small(text: &[u8]) -> Option<(u32, usize)> {
    let mut value = 0;
    let mut len = 0;
    for byte in text.iter().take(9) {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            break;
        }
        value = value * 10 + u32::from(digit);
        len += 1;
    }
    let is_good = len == 1 || (len > 1 && text.first() != Some(&b'0'));
    (is_good && matches!(text.get(len), Some(b',' | b'}' | b']'))).then_some((value, len))
}

/// Returns the number of at most [`SAFE_DIGITS`] digits in quotes that a text begins with, and the
/// bytes that it takes with them.
#[inline(always)]
pub(super) fn quoted_digits(text: &[u8]) -> Option<(u64, usize)> {
    let digits = text.strip_prefix(b"\"")?;
    let (value, len) = short_integer(digits)?;
    (digits.get(len) == Some(&b'"')).then_some((value, len + 2))
}

/// Reads at most [`SAFE_DIGITS`] digits. Returns `None` if there is none.
#[inline(always)]
fn short_integer(digits: &[u8]) -> Option<(u64, usize)> {
    let mut value = 0_u64;
    let mut len = 0;
    let mut rest = digits;
    // Two times eight digits, and three more.
    while len < 16
        && let Some((eight, after)) = rest.split_first_chunk::<8>()
        && let Some(number) = eight_digits(u64::from_le_bytes(*eight))
    {
        value = value * 100_000_000 + number;
        len += 8;
        rest = after;
    }
    for byte in rest.iter().take(SAFE_DIGITS - len) {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            break;
        }
        value = value * 10 + u64::from(digit);
        len += 1;
    }
    (len > 0).then_some((value, len))
}

/// Reads eight digits at once.
#[inline(always)]
fn eight_digits(word: u64) -> Option<u64> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let values = word.wrapping_sub(ONES * 0x30);
    // A value above nine, or a byte that was below '0', sets a high nibble.
    if (values | values.wrapping_add(ONES * 6)) & (ONES * 0xf0) != 0 {
        return None;
    }
    let pairs = (values * 10 + (values >> 8)) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs * 100 + (pairs >> 16)) & 0x0000_ffff_0000_ffff;
    Some((fours * 10_000 + (fours >> 32)) & 0xffff_ffff)
}

/// Reads the double that a text begins with, and the bytes that it takes. Returns `None` if there is
/// none, or if it is beyond the range of doubles.
pub(super) fn double(text: &[u8]) -> Option<(f64, usize)> {
    let (is_negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    if let Some((value, len)) = short_double(digits) {
        let value = if is_negative { -value } else { value };
        return Some((value, usize::from(is_negative) + len));
    }
    let decimal = Decimal::read(digits)?;
    let len = usize::from(is_negative) + decimal.len;
    let number = core::str::from_utf8(text.get(..len)?).ok()?;
    let value: f64 = number.parse().ok()?;
    value.is_finite().then_some((value, len))
}

/// Reads a number with few digits and without exponent. Digits and power of ten are exact as doubles,
/// so that one division rounds once.
#[inline(always)]
fn short_double(text: &[u8]) -> Option<(f64, usize)> {
    const EXACT: u64 = 1 << 53;
    const POWERS: [f64; SAFE_DIGITS] = [
        1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
        1e17, 1e18,
    ];
    let mut digits = 0_u64;
    let mut point = None;
    let mut len = 0;
    for byte in text.iter().take(SAFE_DIGITS) {
        let digit = byte.wrapping_sub(b'0');
        if digit <= 9 {
            digits = digits * 10 + u64::from(digit);
        } else if *byte == b'.' && point.is_none() && len > 0 {
            point = Some(len);
        } else {
            break;
        }
        len += 1;
    }
    let places = point.map_or(0, |point| len - point - 1);
    let ends = !matches!(text.get(len), Some(b'0'..=b'9' | b'.' | b'e' | b'E'));
    let has_digits = len > 0 && (point.is_none() || places > 0);
    if !ends || !has_digits || digits > EXACT {
        return None;
    }
    Some((digits as f64 / *POWERS.get(places)?, len))
}

/// Returns the double that a text spells as a name: `NaN`, `Infinity`, `-Infinity` by the
/// specification, and `+Inf` and the like, which Go programs write.
pub(super) fn named_double(text: &[u8]) -> Option<f64> {
    let (sign, name) = match text {
        [b'-', name @ ..] => (-1.0, name),
        [b'+', name @ ..] => (1.0, name),
        name => (1.0, name),
    };
    if name.eq_ignore_ascii_case(b"infinity") || name.eq_ignore_ascii_case(b"inf") {
        return Some(sign * f64::INFINITY);
    }
    text.eq_ignore_ascii_case(b"nan").then_some(f64::NAN)
}

/// A number without its sign, taken apart.
#[derive(Clone, Copy, Debug)]
struct Decimal<'a> {
    whole: &'a [u8],
    fraction: &'a [u8],
    exponent: i64,
    len: usize,
}

impl<'a> Decimal<'a> {
    fn read(text: &'a [u8]) -> Option<Self> {
        let (whole, mut rest) = split_digits(text);
        if whole.is_empty() {
            return None;
        }
        let mut fraction: &[u8] = &[];
        if let [b'.', after @ ..] = rest {
            (fraction, rest) = split_digits(after);
            if fraction.is_empty() {
                return None;
            }
        }
        let mut exponent = 0_i64;
        if let [b'e' | b'E', after @ ..] = rest {
            let (is_negative, after) = match after {
                [b'-', after @ ..] => (true, after),
                [b'+', after @ ..] => (false, after),
                after => (false, after),
            };
            let digits;
            (digits, rest) = split_digits(after);
            if digits.is_empty() {
                return None;
            }
            for digit in digits {
                exponent = exponent
                    .saturating_mul(10)
                    .saturating_add(i64::from(digit - b'0'));
            }
            if is_negative {
                exponent = -exponent;
            }
        }
        Some(Self {
            whole,
            fraction,
            exponent,
            len: text.len() - rest.len(),
        })
    }

    fn digits(&self) -> impl Iterator<Item = u64> {
        let digits = self.whole.iter().chain(self.fraction);
        digits.map(|digit| u64::from(digit - b'0'))
    }

    /// Returns the number if it is an integer of 64 bits.
    fn integer(&self) -> Option<u64> {
        let places = i64::try_from(self.whole.len())
            .ok()?
            .saturating_add(self.exponent);
        let places = usize::try_from(places.max(0)).unwrap_or(usize::MAX);
        let mut value = 0_u64;
        let mut read = 0;
        for digit in self.digits() {
            if read < places {
                value = value.checked_mul(10)?.checked_add(digit)?;
                read += 1;
            } else if digit != 0 {
                return None;
            }
        }
        // The places that have no digit are zeros. It takes few of them to be too many.
        while value != 0 && read < places {
            value = value.checked_mul(10)?;
            read += 1;
        }
        Some(value)
    }
}

/// Splits the digits at the beginning from what follows.
fn split_digits(text: &[u8]) -> (&[u8], &[u8]) {
    let len = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    text.split_at_checked(len).unwrap_or((text, &[]))
}

/// Returns the bytes that the number at the beginning takes. Returns `None` if there is none.
pub(super) fn len(text: &[u8]) -> Option<usize> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let sign = text.len() - digits.len();
    Some(sign + Decimal::read(digits)?.len)
}

/// Returns true if a number outside of quotes begins as JSON allows: without a zero in front of
/// other digits.
#[inline]
pub(super) fn begins_well(text: &[u8]) -> bool {
    !matches!(
        text,
        [b'0', b'0'..=b'9', ..] | [b'-', b'0', b'0'..=b'9', ..]
    )
}

#[cfg(test)]
mod tests {
    use super::{double, integer, len, named_double};

    fn unsigned(text: &str) -> Option<u64> {
        let read = integer(text.as_bytes())?;
        (read.len == text.len()).then(|| read.unsigned())?
    }

    fn signed(text: &str) -> Option<i64> {
        let read = integer(text.as_bytes())?;
        (read.len == text.len()).then(|| read.signed())?
    }

    /// Integers are exact up to the ends of their ranges, in every form that stands for an integer.
    #[test]
    fn integers() {
        assert_eq!(unsigned("0"), Some(0));
        assert_eq!(unsigned("-0"), Some(0));
        assert_eq!(unsigned("18446744073709551615"), Some(u64::MAX));
        assert_eq!(unsigned("18446744073709551616"), None);
        assert_eq!(unsigned("99999999999999999999999"), None);
        assert_eq!(unsigned("-1"), None);
        assert_eq!(signed("9223372036854775807"), Some(i64::MAX));
        assert_eq!(signed("-9223372036854775808"), Some(i64::MIN));
        assert_eq!(signed("9223372036854775808"), None);
        assert_eq!(signed("-9223372036854775809"), None);
        assert_eq!(
            unsigned("1.60183916977423e18"),
            Some(1_601_839_169_774_230_000)
        );
        assert_eq!(unsigned("1e3"), Some(1000));
        assert_eq!(unsigned("1E+3"), Some(1000));
        assert_eq!(unsigned("1000e-3"), Some(1));
        assert_eq!(unsigned("1.0"), Some(1));
        assert_eq!(unsigned("0.001e3"), Some(1));
        assert_eq!(unsigned("0e999999999999999999999"), Some(0));
        for text in [
            "",
            "-",
            "1.5",
            "1e-1",
            "1e999999999999999999999",
            "1.",
            ".1",
            "1e",
            "1e+",
            "a",
        ] {
            assert_eq!(signed(text), None, "{text}");
        }
    }

    /// Every number of digits is read as the standard library reads it.
    #[test]
    fn every_length() {
        let digits = "98765432109876543210";
        for end in 1..=digits.len() {
            for start in 0..end {
                let text = digits.get(start..end).unwrap();
                assert_eq!(unsigned(text), text.parse().ok(), "{text}");
            }
        }
    }

    /// Doubles are the nearest ones, and what is beyond them is refused.
    #[test]
    fn doubles() {
        for text in [
            "0",
            "-0",
            "1",
            "-1.5",
            "637.704",
            "1e22",
            "1e23",
            "9007199254740993",
            "123456789e-20",
            "2.2250738585072014e-308",
            "4.9e-324",
            "1.7976931348623157e308",
            "0.1e-999999999",
            "0.30000000000000004",
            "100000000000000000000000000000000000000000",
        ] {
            let (value, len) = double(text.as_bytes()).unwrap();
            assert_eq!(
                value.to_bits(),
                text.parse::<f64>().unwrap().to_bits(),
                "{text}"
            );
            assert_eq!(len, text.len());
        }
        for text in ["1e309", "-1e999999999999", "", "-", "+1", "NaN", "1.", "e5"] {
            assert_eq!(double(text.as_bytes()), None, "{text}");
        }
        assert!(named_double(b"NaN").unwrap().is_nan());
        assert_eq!(named_double(b"-Infinity"), Some(f64::NEG_INFINITY));
        assert_eq!(named_double(b"+Inf"), Some(f64::INFINITY));
        assert_eq!(named_double(b"-nan"), None);
        assert_eq!(named_double(b"1"), None);
    }

    /// The end of a number is found, whatever it stands for.
    #[test]
    fn lengths() {
        assert_eq!(len(b"-1.5e+300,"), Some(9));
        assert_eq!(len(b"1e999]"), Some(5));
        assert_eq!(len(b"-"), None);
    }
}
