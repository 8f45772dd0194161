//! A few words as the values of keys.

use super::Section;
use crate::key::Form;

/// The words that a key may have, each with its value.
pub(super) struct Words<'a, T>(pub(super) &'a [(&'a str, T)]);

impl<T: Copy + PartialEq> Words<'_, T> {
    /// Returns the value of a key that takes the words in any case.
    pub(super) fn read(&self, section: &Section<'_>, key: &'static str, default: T) -> T {
        self.ask(section, key, default, true);
        let Some(text) = section.text(key, "a word") else {
            return default;
        };
        if let Some(value) = self.value(&text.to_ascii_lowercase()) {
            return value;
        }
        let words: Vec<&str> = self.0.iter().map(|(word, _)| *word).collect();
        let instead = match words.as_slice() {
            [only] => format!("write {only}"),
            words => format!("write one of {}", words.join(", ")),
        };
        let what = format!("{} is not one of the choices", section.shown(key, text));
        section.wrong_key(key, what, instead);
        default
    }

    /// Returns the value of a key that takes the words exactly; they may look like numbers.
    /// `instead` is the remedy for any other word.
    pub(super) fn read_exactly(
        &self,
        section: &Section<'_>,
        key: &'static str,
        default: T,
        instead: &str,
    ) -> T {
        self.ask(section, key, default, false);
        let value = section.parse(key, |text| {
            self.value(text).ok_or_else(|| instead.to_owned())
        });
        value.unwrap_or(default)
    }

    fn ask(&self, section: &Section<'_>, key: &'static str, default: T, in_any_case: bool) {
        section.ask(key, || {
            let word = self.0.iter().find(|(_, value)| *value == default);
            let words = self.0.iter().map(|(word, _)| (*word).to_owned()).collect();
            let form = Form::Words { words, in_any_case };
            (form, word.map(|(word, _)| (*word).into()))
        });
    }

    fn value(&self, text: &str) -> Option<T> {
        let found = self.0.iter().find(|(word, _)| *word == text);
        found.map(|(_, value)| *value)
    }
}
