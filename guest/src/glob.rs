//! Patterns with `*`, which operators write for names and routes.

use serde::Deserialize;

/// A pattern in which `*` matches any run of characters, including an empty one. Every other
/// character matches itself. The pattern must match the whole text.
///
/// ```
/// use spandrel_guest::Glob;
/// let checkout = Glob::new("checkout-*");
/// assert!(checkout.matches("checkout-eu"));
/// assert!(!checkout.matches("precheckout-eu"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(from = "String")]
pub struct Glob {
    pattern: String,
}

impl From<String> for Glob {
    fn from(pattern: String) -> Self {
        Self { pattern }
    }
}

impl Glob {
    /// Makes a pattern from an operator's text.
    pub fn new(pattern: impl Into<String>) -> Self {
        Self::from(pattern.into())
    }

    /// Returns the pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.pattern
    }

    /// Returns the number of bytes that match themselves. Of two patterns that match, the one with
    /// more is more specific.
    pub fn literal_len(&self) -> usize {
        self.pattern.bytes().filter(|&byte| byte != b'*').count()
    }

    /// Returns true if the pattern matches the whole text. The time is bounded by the product of
    /// both lengths.
    pub fn matches(&self, text: &str) -> bool {
        let mut rest = text.as_bytes();
        let mut pattern = self.pattern.as_bytes();
        // The place to go back to when the part after the last `*` does not match: that `*` then
        // takes one more byte.
        let mut again: Option<(&[u8], &[u8])> = None;
        loop {
            match (pattern, rest) {
                ([b'*', after @ ..], _) => {
                    again = Some((after, rest));
                    pattern = after;
                }
                ([], []) => return true,
                ([wanted, after @ ..], [byte, more @ ..]) if wanted == byte => {
                    (pattern, rest) = (after, more);
                }
                _ => {
                    let Some((after, [_, longer @ ..])) = again else {
                        return false;
                    };
                    again = Some((after, longer));
                    (pattern, rest) = (after, longer);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A `*` matches any run of characters, at any place and any number of times.
    #[test]
    fn stars_take_any_run() {
        for (pattern, text, matches) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("*", "anything", true),
            ("a", "a", true),
            ("a", "ab", false),
            ("a*", "abc", true),
            ("*c", "abc", true),
            ("*b", "abc", false),
            ("a*c", "abbc", true),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYbZ", false),
            ("**a", "a", true),
            ("*.svc", "a.svc.svc", true),
            ("caf\u{e9}*", "caf\u{e9}-1", true),
        ] {
            assert_eq!(
                Glob::new(pattern).matches(text),
                matches,
                "{pattern:?} on {text:?}"
            );
        }
    }
}
