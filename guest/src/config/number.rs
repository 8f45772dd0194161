//! Numbers as operators write them, in the notation of YAML's core schema. The collector reads its
//! own keys in the same way.

/// A number in the narrowest type that holds it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Number {
    Unsigned(u64),
    Signed(i64),
    Wide(i128),
    Float(f64),
}

/// Reads a number; `None` if the text is not one. Decimals with leading zeros are text: they are
/// postal codes and file modes more often than numbers.
pub(super) fn read(text: &str) -> Option<Number> {
    match whole(text) {
        Some(whole) => Some(
            u64::try_from(whole)
                .map(Number::Unsigned)
                .or_else(|_| i64::try_from(whole).map(Number::Signed))
                .unwrap_or(Number::Wide(whole)),
        ),
        None => float(text).map(Number::Float),
    }
}

fn whole(text: &str) -> Option<i128> {
    let (is_negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if !digits.starts_with(|first: char| first.is_ascii_digit()) {
        return None;
    }
    let magnitude = if let Some(hex) = digits.strip_prefix("0x") {
        i128::from(u64::from_str_radix(hex, 16).ok()?)
    } else if let Some(octal) = digits.strip_prefix("0o") {
        i128::from(u64::from_str_radix(octal, 8).ok()?)
    } else if is_padded(digits) {
        return None;
    } else {
        digits.parse().ok()?
    };
    Some(if is_negative { -magnitude } else { magnitude })
}

fn float(text: &str) -> Option<f64> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let plausible = digits.starts_with(|first: char| first.is_ascii_digit() || first == '.')
        && digits
            .bytes()
            .all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'+' | b'e' | b'E'));
    if !plausible || is_padded(digits) {
        return None;
    }
    text.parse().ok().filter(|number: &f64| number.is_finite())
}

fn is_padded(digits: &str) -> bool {
    let after = digits.strip_prefix('0');
    after.is_some_and(|after| after.starts_with(|next: char| next.is_ascii_digit()))
}
