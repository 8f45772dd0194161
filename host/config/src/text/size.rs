//! Sizes: a number of bytes, or a number with its unit, such as `512MiB`.

use super::scalar;

/// Parses a number of bytes, or a size with its unit. The error says what to write instead.
pub(crate) fn parse(text: &str) -> Result<u64, String> {
    let instead = || "write a number of bytes, or a size such as 512MiB or 10GiB".to_owned();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits).ok_or_else(instead)?;
    let factor: u64 = match unit.trim_start() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        "KB" | "kB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        _ => return Err(instead()),
    };
    let number = scalar::integer(number).and_then(|number| u64::try_from(number).ok());
    number
        .and_then(|number| number.checked_mul(factor))
        .ok_or_else(instead)
}

/// Returns the size with the largest unit that leaves a whole number.
pub(crate) fn shown(bytes: u64) -> String {
    let units = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
    let fits = |shift: u32| bytes > 0 && bytes.trailing_zeros() >= shift;
    let unit = units.into_iter().find(|(shift, _)| fits(*shift));
    unit.map_or_else(
        || bytes.to_string(),
        |(shift, unit)| format!("{}{unit}", bytes >> shift),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sizes are read with and without their unit, and nothing else is a size.
    #[test]
    fn sizes_are_read() {
        for (text, size) in [
            ("1048576", 1 << 20),
            ("64MiB", 64 << 20),
            ("10 GiB", 10 << 30),
            ("1TiB", 1 << 40),
            ("5GB", 5_000_000_000),
            ("0", 0),
        ] {
            assert_eq!(parse(text), Ok(size), "{text}");
        }
        for text in ["", "GiB", "10G", "-1", "1.5GiB", "ten", "99999999999GiB"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    /// A size that is shown is read as the same size.
    #[test]
    fn a_shown_size_is_read_as_itself() {
        for size in [0, 1, 1023, 1 << 10, 32 << 20, 10 << 30, 3 << 40, u64::MAX] {
            assert_eq!(parse(&shown(size)), Ok(size), "{}", shown(size));
        }
    }
}
