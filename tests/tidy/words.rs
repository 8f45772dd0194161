//! One word for each concept, also in public names.

use crate::tree::{files, report};

/// Words that the table in the README replaces, if they have no other meaning in this tree.
const NOT: [&str; 11] = [
    "pdata", "discard", "topology", "flow", "sandbox", "worker", "upgrade", "mutation", "quiesce",
    "wal", "decision",
];

/// The beginnings of public items in Rust.
const ITEMS: [&str; 7] = [
    "pub struct ",
    "pub enum ",
    "pub trait ",
    "pub fn ",
    "pub async fn ",
    "pub mod ",
    "pub const ",
];

/// Splits a name into its words: `snake_case`, `CamelCase` and `CONSTANT_CASE`.
fn words(name: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut previous_lower = false;
    for letter in name.chars() {
        let begins = letter == '_' || (letter.is_uppercase() && previous_lower);
        if begins || words.is_empty() {
            words.push(String::new());
        }
        if let (true, Some(word)) = (letter.is_alphanumeric(), words.last_mut()) {
            word.extend(letter.to_lowercase());
        }
        previous_lower = letter.is_lowercase();
    }
    words
}

/// Public names of the host and the SDK use the words of the table.
#[test]
fn public_names_use_the_words_of_the_table() {
    let mut findings = Vec::new();
    let sources = files()
        .into_iter()
        .filter(|file| file.is("rs") && ["host", "guest"].iter().any(|folder| file.under(folder)));
    for file in sources {
        for line in file.text.lines().map(str::trim_start) {
            let Some(rest) = ITEMS.iter().find_map(|item| line.strip_prefix(item)) else {
                continue;
            };
            let mut parts = rest.split(|c: char| !c.is_alphanumeric() && c != '_');
            let name = parts.next().unwrap_or_default();
            if words(name).iter().any(|word| NOT.contains(&word.as_str())) {
                findings.push(format!("{}: {name}", file.path.display()));
            }
        }
    }
    report("public names with a word that the table replaces", findings);
}

/// Names are split at the borders of their words.
#[test]
fn names_are_taken_apart() {
    assert_eq!(words("QueueConfig"), ["queue", "config"]);
    assert_eq!(words("drain_reason"), ["drain", "reason"]);
    assert_eq!(words("MAX_WAIT"), ["max", "wait"]);
}
