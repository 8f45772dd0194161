//! The keys that sections are asked for, noted in tests.

use std::cell::RefCell;
use std::collections::BTreeMap;

use super::tree::join;

/// The way in which the reader of a section knows a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// The key is read.
    Asked,
    /// The key is refused, or does nothing and causes a warning.
    Hidden,
}

thread_local! {
    /// The keys that sections were asked for, by their paths.
    pub(crate) static KEYS: RefCell<BTreeMap<String, Known>> = RefCell::default();
}

/// Notes the keys of a section that has been read.
pub(super) fn note(path: &str, asked: &[&'static str], hidden: &[&'static str]) {
    KEYS.with_borrow_mut(|keys| {
        for (names, known) in [(hidden, Known::Hidden), (asked, Known::Asked)] {
            for key in names {
                keys.insert(pattern(&join(path, key)), known);
            }
        }
    });
}

/// Returns the path with the names that operators choose replaced: components by their type,
/// pipelines and hosts by a word for what they are, the items of a list by `*`.
pub(crate) fn pattern(path: &str) -> String {
    let parts: Vec<&str> = path.split("::").collect();
    let mut pattern: Vec<&str> = Vec::new();
    for (index, part) in parts.iter().copied().enumerate() {
        let around = pattern.last().copied().unwrap_or_default();
        let kind = part.split('/').next().unwrap_or_default();
        pattern.push(match (index, around) {
            (1, "exporters") if kind == "otlp" => "otlp_grpc",
            (1, "receivers" | "processors" | "exporters" | "extensions") => kind,
            (_, "pipelines") => "PIPELINE",
            (_, "credentials") => "HOST",
            (_, "headers") => "HEADER",
            _ if part.bytes().all(|byte| byte.is_ascii_digit()) => "*",
            _ => part,
        });
    }
    pattern.join("::")
}
