//! The meaning of an unquoted scalar: YAML 1.2's core schema.

/// Returns true if the text is a null.
pub(crate) fn is_null(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

/// Parses `true` or `false`. The older `yes` and `on` are text, because nobody means a boolean by
/// them here.
pub(crate) fn boolean(text: &str) -> Option<bool> {
    match text {
        "true" | "True" | "TRUE" => Some(true),
        "false" | "False" | "FALSE" => Some(false),
        _ => None,
    }
}

/// Returns true if the text is only text: neither null, nor a boolean, nor a number.
pub(crate) fn is_text(text: &str) -> bool {
    !is_null(text) && boolean(text).is_none() && integer(text).is_none() && float(text).is_none()
}

/// Parses a whole number: decimal, `0x` or `0o`. Decimals with leading zeros are text, because they
/// are postal codes and file modes more often than numbers.
pub(crate) fn integer(text: &str) -> Option<i128> {
    let (negative, digits) = match text.strip_prefix('-') {
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
    } else if digits.len() > 1 && digits.starts_with('0') {
        return None;
    } else {
        i128::from(digits.parse::<u64>().ok()?)
    };
    Some(if negative { -magnitude } else { magnitude })
}

/// Parses a number with a fraction or an exponent, or a whole number.
pub(crate) fn float(text: &str) -> Option<f64> {
    let plausible = text
        .bytes()
        .all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'+' | b'e' | b'E'));
    let digits = text.trim_start_matches(['-', '+']);
    let padded = digits.len() > 1
        && digits.starts_with('0')
        && !digits.starts_with("0.")
        && !digits.starts_with("0e");
    if !plausible
        || padded
        || !digits.starts_with(|first: char| first.is_ascii_digit() || first == '.')
    {
        return None;
    }
    text.parse().ok().filter(|number: &f64| number.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers are read in every notation of the core schema, and nothing else is a number.
    #[test]
    fn numbers_are_told_from_text() {
        for (text, number) in [
            ("0", 0),
            ("42", 42),
            ("-7", -7),
            ("+7", 7),
            ("0x1F", 31),
            ("0o17", 15),
        ] {
            assert_eq!(integer(text), Some(number), "{text}");
        }
        for text in [
            "", "-", "0123", "1_000", "1.5", "--1", "0x", "ten", "1e3", "0x-1",
        ] {
            assert_eq!(integer(text), None, "{text}");
        }
        for (text, number) in [
            ("1.5", 1.5),
            ("-0.25", -0.25),
            ("1e3", 1000.0),
            (".5", 0.5),
            ("3", 3.0),
        ] {
            assert_eq!(float(text), Some(number), "{text}");
        }
        for text in ["", ".", "1.2.3", "007", "inf", "nan", "e5", "1h"] {
            assert_eq!(float(text), None, "{text}");
        }
    }
}
