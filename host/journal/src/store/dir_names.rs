//! Names of exporters as names of directories.

use std::fmt::Write;

/// Returns the name of an exporter's directory. Letters, digits, `_`, `-` and dots except a first
/// one stay; other bytes are in hexadecimal.
pub(super) fn to_dir_name(exporter: &str) -> String {
    let mut name = String::new();
    for byte in exporter.bytes() {
        let plain = byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
        if plain || (byte == b'.' && !name.is_empty()) {
            name.push(char::from(byte));
        } else if write!(name, "%{byte:02x}").is_err() {
            // Writing to a string does not fail.
            break;
        }
    }
    name
}

/// Returns the exporter with this directory; `None` if it is not an exporter's.
pub(super) fn from_dir_name(name: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = name.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits = [rest.next()?, rest.next()?];
            let digits = std::str::from_utf8(&digits).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    let exporter = String::from_utf8(bytes).ok()?;
    (to_dir_name(&exporter) == name).then_some(exporter)
}

#[cfg(test)]
mod tests {
    use super::{from_dir_name, to_dir_name};

    /// Every name has a directory of its own, inside the one that it belongs to.
    #[test]
    fn names_come_back() {
        for name in ["otlp_grpc/backend", "..", ".", "a b%2f", "é", "file"] {
            let dir = to_dir_name(name);
            assert!(!dir.contains('/') && !dir.starts_with('.'), "{dir}");
            assert_eq!(from_dir_name(&dir).as_deref(), Some(name));
        }
        assert_eq!(from_dir_name("lost+found"), None);
        assert_eq!(from_dir_name("%2"), None);
    }
}
