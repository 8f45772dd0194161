//! Text that is never printed.

use std::fmt;

use zeroize::Zeroizing;

/// A secret text: a token, a password, or the value of a header. `Debug` and `Display` print
/// `[REDACTED]`, nothing serialises it, and its memory is cleared on drop. Only [`Secret::reveal`]
/// returns the text, so a search finds every use.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Returns the text, for code that must send or compare it.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Returns true if the text is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[REDACTED]")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[REDACTED]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// No way of printing a secret shows its text.
    #[test]
    fn a_secret_is_not_printed() {
        let secret = Secret::from("hunter2");
        assert_eq!(secret.reveal(), "hunter2");
        let printed = format!("{secret} {secret:?} {secret:#?} {secret:>40}");
        assert!(!printed.contains("hunter2"), "{printed}");
        assert_eq!(printed.matches("[REDACTED]").count(), 4, "{printed}");
    }
}
