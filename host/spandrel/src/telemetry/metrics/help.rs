//! The description of each metric, with its unit: the line above its samples.

/// The descriptions, one per line: the metric's name, a space, the text.
const TEXTS: &str = include_str!("help.txt");

/// Returns the text for `# HELP`; `None` for a name without a description.
pub(super) fn help(name: &str) -> Option<&'static str> {
    let mut described = TEXTS.lines().filter_map(|line| line.split_once(' '));
    let found = described.find(|(known, _)| *known == name);
    found.map(|(_, text)| text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// No metric is described twice, and each text is a sentence that needs no escape and has the
    /// unit.
    #[test]
    fn each_is_described_once() {
        let mut seen = std::collections::BTreeSet::new();
        for line in TEXTS.lines() {
            let (name, text) = line.split_once(' ').expect("a name and a text");
            assert!(seen.insert(name), "{name}");
            assert!(text.ends_with('.') && !text.contains('\\'), "{name}");
            let name = name.strip_suffix("_total").unwrap_or(name);
            for unit in ["seconds", "bytes"] {
                let has_unit = text.to_lowercase().contains(unit);
                assert!(!name.ends_with(unit) || has_unit, "{name}");
            }
        }
    }
}
