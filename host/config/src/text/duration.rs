//! Durations in Go's notation: `1h30m`, `1.5s`, `300ms`, `10µs`.

use std::time::Duration;

/// A million days. Above it no deadline can be computed, and nobody means it.
const LONGEST: Duration = Duration::from_secs(1_000_000 * 86_400);

/// Parses Go's notation: numbers, each with a unit, in any order; a bare `0` is zero.
pub fn parse(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest.is_empty() {
        return None;
    }
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let (number, after) = split_while(rest, |c| c.is_ascii_digit() || c == '.');
        let (unit, after) = split_while(after, |c| !c.is_ascii_digit() && c != '.');
        total = total.checked_add(part(number, unit)?)?;
        rest = after;
    }
    (total <= LONGEST).then_some(total)
}

fn split_while(text: &str, belongs: impl Fn(char) -> bool) -> (&str, &str) {
    let end = text.find(|c| !belongs(c)).unwrap_or(text.len());
    text.split_at_checked(end).unwrap_or((text, ""))
}

fn part(number: &str, unit: &str) -> Option<Duration> {
    let nanos_per_unit: u128 = match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
        return None;
    }
    let mut nanos = digits(whole)?.checked_mul(nanos_per_unit)?;
    let mut worth = nanos_per_unit;
    // Digits below a nanosecond are cut off, as in Go.
    for digit in fraction.bytes() {
        worth /= 10;
        nanos = nanos.checked_add(u128::from(digit.checked_sub(b'0')?).checked_mul(worth)?)?;
    }
    Some(Duration::from_nanos(u64::try_from(nanos).ok()?))
}

fn digits(text: &str) -> Option<u128> {
    if text.is_empty() {
        Some(0)
    } else {
        text.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Everything that Go's `time.ParseDuration` reads means the same here.
    #[test]
    fn go_durations_are_read() {
        for (text, nanos) in [
            ("0", 0),
            ("0s", 0),
            ("200ms", 200_000_000),
            ("1.5s", 1_500_000_000),
            (".5s", 500_000_000),
            ("1.s", 1_000_000_000),
            ("1h30m", 5_400_000_000_000),
            ("10µs", 10_000),
            ("10us", 10_000),
            ("3ns", 3),
            ("1m0.25s", 60_250_000_000),
            ("+5s", 5_000_000_000),
        ] {
            assert_eq!(parse(text), Some(Duration::from_nanos(nanos)), "{text}");
        }
    }

    /// Text that Go refuses, or reads as a negative time, is refused.
    #[test]
    fn what_is_not_a_duration_is_refused() {
        for text in [
            "",
            "5",
            "-5s",
            "s",
            ".s",
            "1.2.3s",
            "5 s",
            "5sec",
            "5d",
            "1h-3m",
            "99999999999h",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
