//! Durations in the notation of the collector's config: `250ms`, `1m30s`, `1.5h`.
//!
//! ```
//! use serde::Deserialize;
//! use std::time::Duration;
//!
//! #[derive(Deserialize)]
//! struct Config {
//!     #[serde(with = "spandrel_guest::duration")]
//!     window: Duration,
//! }
//! ```

use std::time::Duration;

use serde::{Deserialize, Deserializer};

/// The units and their lengths in nanoseconds. A unit stands before any other that is a prefix of
/// it.
const UNITS: [(&str, f64); 8] = [
    ("ns", 1.0),
    ("us", 1e3),
    ("\u{b5}s", 1e3),
    ("\u{3bc}s", 1e3),
    ("ms", 1e6),
    ("s", 1e9),
    ("m", 60e9),
    ("h", 3600e9),
];

/// The longest duration that is accepted: ten years. A longer one is a typing error.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// Reads a duration from a string.
///
/// # Errors
/// Returns an error if the value is not a string, or not a duration.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    // Owned, because a deserializer can lend a string only if it contains no escapes.
    let text = String::deserialize(deserializer)?;
    parse(&text).map_err(serde::de::Error::custom)
}

/// Reads a duration such as `1m30s`. Negative ones are refused.
///
/// # Errors
/// Returns a message that says what was found and what would be right.
pub fn parse(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is not a duration such as `30s`, `250ms` or `1m30s`");
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let mut rest = text;
    let mut nanoseconds = 0.0;
    while !rest.is_empty() {
        let digits = rest
            .find(|character: char| !character.is_ascii_digit() && character != '.')
            .ok_or_else(wrong)?;
        let (number, unit) = rest.split_at_checked(digits).ok_or_else(wrong)?;
        let number: f64 = number.parse().map_err(|_| wrong())?;
        let (after, scale) = UNITS
            .iter()
            .find_map(|(name, scale)| Some((unit.strip_prefix(name)?, scale)))
            .filter(|(after, _)| {
                after.is_empty() || after.starts_with(|c: char| c.is_ascii_digit() || c == '.')
            })
            .ok_or_else(wrong)?;
        nanoseconds += number * scale;
        rest = after;
    }
    if text.is_empty() {
        return Err(wrong());
    }
    let duration = Duration::try_from_secs_f64(nanoseconds / 1e9).map_err(|_| wrong())?;
    if duration > LONGEST {
        return Err(format!("`{text}` is longer than ten years"));
    }
    Ok(duration)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every duration that the collector's config accepts is accepted here too.
    #[test]
    fn go_durations_are_read() {
        for (text, milliseconds) in [
            ("0", 0),
            ("0s", 0),
            ("250ms", 250),
            ("30s", 30_000),
            ("1m30s", 90_000),
            ("1.5s", 1_500),
            ("2h", 7_200_000),
            ("1000us", 1),
        ] {
            assert_eq!(
                parse(text),
                Ok(Duration::from_millis(milliseconds)),
                "{text}"
            );
        }
    }

    /// Every other text is refused, and the message contains it.
    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "30",
            "s",
            "-1s",
            "1 s",
            "30sec",
            "1d",
            "1..5s",
            "1s2",
            "99999999h",
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(&format!("`{text}`")), "{error}");
        }
    }
}
