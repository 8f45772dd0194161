//! The report for people.

use super::Report;

impl Report {
    /// Lines for a terminal, with colour if that is wanted.
    pub fn text(&self, _colour: bool) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    /// One object of JSON, in one line.
    pub fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}
