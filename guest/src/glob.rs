//! Patterns with `*`, as operators write them for names and routes.

use serde::Deserialize;

/// A pattern in which `*` stands for any run of characters, none included; everything else stands
/// for itself. The whole text must match.
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
    /// A pattern as an operator wrote it.
    pub fn new(pattern: impl Into<String>) -> Self {
        Self::from(pattern.into())
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.pattern
    }

    /// How many bytes stand for themselves: of two patterns that match, the one with more says
    /// more.
    pub fn literal_len(&self) -> usize {
        self.pattern.bytes().filter(|&byte| byte != b'*').count()
    }

    /// Whether it matches the whole text. Time is bounded by the product of both lengths.
    pub fn matches(&self, text: &str) -> bool {
        let mut rest = text.as_bytes();
        let mut pattern = self.pattern.as_bytes();
        // Where to go on when what follows the last `*` does not fit: that `*` takes one more.
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

    /// A `*` takes any run, anywhere, as often as it stands there.
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
