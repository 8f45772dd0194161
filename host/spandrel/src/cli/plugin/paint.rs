//! Colours, if the output is a terminal.

use std::io::IsTerminal as _;

/// Paints text on a terminal, and leaves it unchanged elsewhere.
#[derive(Clone, Copy, Debug)]
pub(super) struct Paint {
    on: bool,
}

impl Paint {
    /// Returns the paint for stdout. `NO_COLOR` is honoured.
    pub(super) fn stdout() -> Self {
        let no = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            on: std::io::stdout().is_terminal() && !no,
        }
    }

    #[cfg(test)]
    pub(super) fn never() -> Self {
        Self { on: false }
    }

    pub(super) fn bold(self, text: &str) -> String {
        self.with("1", text)
    }

    pub(super) fn dim(self, text: &str) -> String {
        self.with("2", text)
    }

    /// Paints a status word as good, undecided or bad.
    pub(super) fn status(self, word: &str) -> String {
        match word.split(' ').next().unwrap_or_default() {
            "running" | "published" | "promoted" | "passed" | "would" | "unchanged" => {
                self.with("32", word)
            }
            "probation" | "canary" | "shadow" => self.with("33", word),
            "bypassed" | "refused" | "rolled" | "faults:" => self.with("31", word),
            "previous" => self.dim(word),
            _ => word.to_owned(),
        }
    }

    fn with(self, code: &str, text: &str) -> String {
        if self.on {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}
