//! Reads one map of the raw tree, key by key, and notes all problems on the way: values of the
//! wrong type or out of range, and keys that nobody asked for.

mod duration_range;
mod number_range;
mod texts;
mod vocabulary;
mod words;

use std::collections::BTreeSet;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value as Json;
use spandrel_otlp::secret::Secret;

use self::duration_range::DurationRange;
use self::number_range::{FloatRange, IntegerRange};
use self::vocabulary::Vocabulary;
use self::words::Words;
use super::plugin_config::PluginConfig;
use super::tree::{Entry, Node, Value, join};
use super::{json, scalar, size};
use crate::key::{Form, Treatment};
use crate::problem::{Location, Problem, Problems};

/// One map. Every key that it may have must be asked for before the section is dropped: a key that
/// was not asked for is reported as unknown.
pub(crate) struct Section<'a> {
    entries: &'a [Entry],
    at: Location,
    path: String,
    problems: &'a Problems,
    vocabulary: Vocabulary,
}

impl<'a> Section<'a> {
    /// Returns the section at `node`. An empty node gives an empty section, in which all keys have
    /// their defaults.
    pub(crate) fn new(node: &'a Node, path: String, problems: &'a Problems) -> Self {
        let entries = match &node.value {
            Value::Map(entries) => entries.as_slice(),
            Value::Null | Value::Reported => &[],
            other => {
                let what = format!("expected a map, found {}", other.kind());
                problems.add(Problem::at(&node.at, path.clone(), what));
                &[]
            }
        };
        Self::of(entries, node.at.clone(), path, problems)
    }

    /// Returns the section of an entry whose key the operator chose. Problems of the whole section
    /// are located at the key.
    pub(crate) fn named(entry: &'a Entry, path: String, problems: &'a Problems) -> Self {
        let mut section = Self::new(&entry.node, path, problems);
        section.at = entry.at.clone();
        section
    }

    fn of(entries: &'a [Entry], at: Location, path: String, problems: &'a Problems) -> Self {
        Self {
            entries,
            at,
            path,
            problems,
            vocabulary: Vocabulary::default(),
        }
    }

    /// Returns the entries of a map whose keys are names that the operator chose. If there are
    /// `types`, each name should be one of them, alone or with a `/name`.
    pub(crate) fn into_named(
        mut self,
        types: &'static [&'static str],
    ) -> impl Iterator<Item = (&'a Entry, String)> {
        self.vocabulary.open();
        if let Some(keys) = self.problems.keys() {
            keys.ask(&self.path, Form::Names(types), None);
        }
        let path = self.path.clone();
        self.entries
            .iter()
            .map(move |entry| (entry, join(&path, &entry.key)))
    }

    pub(crate) fn at(&self) -> &Location {
        &self.at
    }

    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    pub(crate) fn problems(&self) -> &'a Problems {
        self.problems
    }

    /// Notes a problem of the section as a whole.
    pub(crate) fn wrong(&self, what: impl Into<String>, instead: impl Into<String>) {
        let problem = Problem::at(&self.at, self.path.clone(), what);
        self.problems.add(problem.instead(instead));
    }

    /// Notes a problem of a key, at its value.
    pub(crate) fn wrong_key(
        &self,
        key: &'static str,
        what: impl Into<String>,
        instead: impl Into<String>,
    ) {
        let at = self.entry(key).map_or(&self.at, |entry| &entry.node.at);
        let problem = Problem::at(at, join(&self.path, key), what);
        self.problems.add(problem.instead(instead));
    }

    /// Notes the form and the default of a key, if keys are noted.
    pub(crate) fn ask(&self, key: &str, form: impl FnOnce() -> (Form, Option<Json>)) {
        if let Some(keys) = self.problems.keys() {
            let (form, default) = form();
            keys.ask(&join(&self.path, key), form, default);
        }
    }

    /// Notes the treatment of a key, if keys are noted.
    fn treat(&self, key: &str, treatment: impl FnOnce() -> Treatment) {
        if let Some(keys) = self.problems.keys() {
            keys.treat(&join(&self.path, key), treatment());
        }
    }

    fn entry(&self, key: &'static str) -> Option<&'a Entry> {
        self.vocabulary.add(key);
        self.entries.iter().find(|entry| entry.key == key)
    }

    /// Returns the node of a key that is there and not null.
    pub(crate) fn node(&self, key: &'static str) -> Option<&'a Node> {
        let node = &self.entry(key)?.node;
        (node.value != Value::Null).then_some(node)
    }

    /// Returns true if the key is written at all, even as `key:` without a value.
    pub(crate) fn has(&self, key: &'static str) -> bool {
        self.entry(key).is_some()
    }

    /// Returns the section of a key; an empty one if the key is missing.
    pub(crate) fn section(&self, key: &'static str) -> Section<'a> {
        self.ask(key, || (Form::Map, None));
        let path = join(&self.path, key);
        match self.entry(key) {
            Some(entry) => Section::named(entry, path, self.problems),
            None => Section::of(&[], self.at.clone(), path, self.problems),
        }
    }

    /// Returns true if the key has a map.
    pub(crate) fn is_map(&self, key: &'static str) -> bool {
        self.node(key)
            .is_some_and(|node| matches!(node.value, Value::Map(_)))
    }

    /// Accepts keys of the Collector that have no meaning here, so that its configurations can be
    /// used, and warns why they have no effect.
    pub(crate) fn without_meaning(&self, keys: &[&'static str], why: &str) {
        for key in keys {
            self.vocabulary.add_hidden(key);
            self.treat(key, || Treatment::NoEffect(why.to_owned()));
        }
        let written = self
            .entries
            .iter()
            .filter(|entry| keys.contains(&entry.key.as_str()) && entry.node.value != Value::Null);
        for entry in written {
            self.warn(entry, why, "remove it");
        }
    }

    /// Warns about a key that is written and does not do what it says.
    pub(crate) fn warn_key(&self, key: &'static str, what: &str, instead: &str) {
        if let Some(entry) = self.entries.iter().find(|entry| entry.key == key) {
            self.warn(entry, what, instead);
        }
    }

    fn warn(&self, entry: &Entry, what: &str, instead: &str) {
        let path = join(&self.path, &entry.key);
        let problem = Problem::at(&entry.at, path, what);
        self.problems.warn(problem.instead(instead));
    }

    /// Reports a key that the Collector has and Spandrel does not offer. It must not be silently
    /// ignored.
    pub(crate) fn not_offered(&self, key: &'static str, instead: &str) {
        self.treat(key, || Treatment::Refused(instead.to_owned()));
        self.vocabulary.add_hidden(key);
        let entry = self.entries.iter().find(|entry| entry.key == key);
        if let Some(entry) = entry.filter(|entry| entry.node.value != Value::Null) {
            self.refuse(entry, instead);
        }
    }

    fn refuse(&self, entry: &Entry, instead: &str) {
        let what = "not offered by this version of spandrel";
        let problem = Problem::at(&entry.at, join(&self.path, &entry.key), what);
        self.problems.add(problem.instead(instead));
    }

    /// Returns the text of a key. A map or a list there is a problem.
    fn text(&self, key: &'static str, expected: &str) -> Option<&'a str> {
        match &self.node(key)?.value {
            Value::Scalar(scalar) => Some(&scalar.text),
            Value::Reported => None,
            other => {
                let what = format!("expected {expected}, found {}", other.kind());
                let at = &self.node(key)?.at;
                self.problems
                    .add(Problem::at(at, join(&self.path, key), what));
                None
            }
        }
    }

    /// Returns the text of a key that takes only text. The content of a variable is not read as
    /// YAML.
    fn raw(&self, key: &'static str) -> Option<&'a str> {
        let text = self.entry(key)?.node.text();
        text.or_else(|| self.text(key, "text"))
    }

    /// Returns the form in which a message shows the text of a key.
    fn shown(&self, key: &'static str, text: &str) -> String {
        let node = self.node(key);
        node.map_or_else(|| format!("`{text}`"), |node| node.shown(text))
    }

    /// Returns text that is secret: no message shows it, wherever it came from.
    pub(crate) fn secret(&self, key: &'static str) -> Option<Secret> {
        self.ask(key, || (Form::Text("secret text"), None));
        self.raw(key).map(Secret::from)
    }

    pub(crate) fn string(&self, key: &'static str) -> Option<String> {
        self.ask(key, || (Form::Text("text"), None));
        self.raw(key).map(str::to_owned)
    }

    /// Returns the path of a file or a folder.
    pub(crate) fn file(&self, key: &'static str) -> Option<PathBuf> {
        self.ask(key, || (Form::Text("path"), None));
        self.raw(key).map(PathBuf::from)
    }

    /// Returns a value with a notation of its own, which has this name. `parse` returns what to write
    /// instead as its error.
    pub(crate) fn parsed<T>(
        &self,
        key: &'static str,
        notation: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        self.ask(key, || (Form::Text(notation), None));
        self.parse(key, parse)
    }

    /// Does the same for a value that has a default.
    pub(crate) fn parsed_or<T: Display>(
        &self,
        key: &'static str,
        notation: &'static str,
        default: T,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> T {
        self.ask(key, || {
            (Form::Text(notation), Some(default.to_string().into()))
        });
        self.parse(key, parse).unwrap_or(default)
    }

    fn parse<T>(
        &self,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let text = self.raw(key)?;
        match parse(text) {
            Ok(value) => Some(value),
            Err(instead) => {
                let shown = self.shown(key, text);
                self.wrong_key(key, format!("{shown} is not valid here"), instead);
                None
            }
        }
    }

    /// Reports the key if it is missing. The section makes no sense without it.
    pub(crate) fn required(&self, key: &'static str, example: &str) {
        if let Some(keys) = self.problems.keys() {
            keys.require(&join(&self.path, key));
        }
        let text = self.entry(key).and_then(|entry| entry.node.text());
        if text.is_none() && self.node(key).is_none() {
            let what = format!("the key `{key}` is missing");
            self.wrong(what, format!("add `{key}: {example}`"));
        }
    }

    /// Returns the maps of a list as sections; `None` if the key is missing. `instead` is the remedy
    /// if it holds anything else.
    pub(crate) fn sections(&self, key: &'static str, instead: &str) -> Option<Vec<Section<'a>>> {
        self.ask(key, || (Form::Maps, None));
        let node = self.node(key)?;
        let Value::List(items) = &node.value else {
            let what = format!("expected a list, found {}", node.value.kind());
            self.wrong_key(key, what, instead);
            return Some(Vec::new());
        };
        let path = join(&self.path, key);
        let section = |(index, node): (usize, &'a Node)| {
            Section::new(node, join(&path, &index.to_string()), self.problems)
        };
        Some(items.iter().enumerate().map(section).collect())
    }

    /// Returns a list of texts with a notation of their own, which has this name. `parse` returns
    /// what to write instead as its error.
    pub(crate) fn parsed_list<T>(
        &self,
        key: &'static str,
        notation: &'static str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Vec<T> {
        self.ask(key, || (Form::Texts(notation), None));
        texts::parsed(self, key, parse)
    }

    /// Returns a list of texts in this notation, with their nodes. A single text is a list of one.
    pub(crate) fn texts(
        &self,
        key: &'static str,
        notation: &'static str,
    ) -> Vec<(&'a str, &'a Node)> {
        self.ask(key, || (Form::Texts(notation), None));
        texts::read(self, key)
    }

    pub(crate) fn duration(&self, key: &'static str, default: Duration) -> Duration {
        let duration = DurationRange::ANY.read(self, key, Some(default));
        duration.unwrap_or(default)
    }

    /// Returns a duration that has no default. In the Collector, 0 means the same as no value for
    /// all of these keys.
    pub(crate) fn duration_opt(&self, key: &'static str) -> Option<Duration> {
        let duration = DurationRange::ANY.read(self, key, None);
        duration.filter(|duration| !duration.is_zero())
    }

    /// Returns a duration that is not zero.
    pub(crate) fn duration_positive(&self, key: &'static str, default: Duration) -> Duration {
        let duration = DurationRange::POSITIVE.read(self, key, Some(default));
        duration.unwrap_or(default)
    }

    /// Returns a duration that is not zero and at most an hour. `instead` is the remedy if it is
    /// longer.
    pub(crate) fn duration_to_an_hour(
        &self,
        key: &'static str,
        default: Duration,
        instead: &str,
    ) -> Duration {
        let duration = DurationRange::to_an_hour(instead).read(self, key, Some(default));
        duration.unwrap_or(default)
    }

    /// Returns a duration. A value below `least` is a problem: it could not be met, for the reason
    /// `why`.
    pub(crate) fn duration_least(
        &self,
        key: &'static str,
        default: Duration,
        (least, why): (Duration, &str),
    ) -> Duration {
        let duration = DurationRange::at_least(least, why).read(self, key, Some(default));
        duration.unwrap_or(default)
    }

    /// Returns a duration that is at least `least`; `None` for 0, which is the default.
    pub(crate) fn duration_least_or_zero(
        &self,
        key: &'static str,
        (least, why): (Duration, &str),
    ) -> Option<Duration> {
        let range = DurationRange::at_least(least, why).or_zero();
        let duration = range.read(self, key, Some(Duration::ZERO));
        duration.filter(|duration| !duration.is_zero())
    }

    pub(crate) fn integer<T>(&self, key: &'static str, default: T, range: RangeInclusive<T>) -> T
    where
        T: TryFrom<i128> + PartialOrd + Display,
    {
        let number = IntegerRange(range).read(self, key, Some(&default));
        number.unwrap_or(default)
    }

    /// Returns a whole number that has no default.
    pub(crate) fn integer_opt<T>(&self, key: &'static str, range: RangeInclusive<T>) -> Option<T>
    where
        T: TryFrom<i128> + PartialOrd + Display,
    {
        IntegerRange(range).read(self, key, None)
    }

    pub(crate) fn float(&self, key: &'static str, default: f64, range: RangeInclusive<f64>) -> f64 {
        FloatRange(range).read(self, key, default)
    }

    pub(crate) fn boolean(&self, key: &'static str, default: bool) -> bool {
        self.ask(key, || (Form::Boolean, Some(default.into())));
        let Some(text) = self.text(key, "true or false") else {
            return default;
        };
        let value = scalar::boolean(text);
        if value.is_none() {
            let what = format!("{} is not a boolean", self.shown(key, text));
            self.wrong_key(key, what, "write true or false");
        }
        value.unwrap_or(default)
    }

    /// Returns a number of bytes that is at least `least`, or the default.
    pub(crate) fn size(&self, key: &'static str, default: u64, least: u64) -> u64 {
        self.ask(key, || {
            (Form::Size { least }, Some(size::shown(default).into()))
        });
        self.parse(key, size::parse).unwrap_or(default)
    }

    /// Returns the value for one of a few words.
    pub(crate) fn choice<T: Copy + PartialEq>(
        &self,
        key: &'static str,
        default: T,
        choices: &[(&str, T)],
    ) -> T {
        Words(choices).read(self, key, default)
    }

    /// Returns the value for one of a few words that may look like numbers. `instead` is the remedy
    /// for any other word.
    pub(crate) fn exact_choice<T: Copy + PartialEq>(
        &self,
        key: &'static str,
        default: T,
        choices: &[(&str, T)],
        instead: &str,
    ) -> T {
        Words(choices).read_exactly(self, key, default, instead)
    }

    /// Returns a value as JSON, for a plugin to read.
    pub(crate) fn json(&self, key: &'static str) -> PluginConfig {
        self.ask(key, || (Form::Any, None));
        self.node(key)
            .map_or_else(PluginConfig::none, PluginConfig::from_node)
    }

    /// Returns pointers to the values of it that may be secrets; see [`json::hidden`].
    pub(crate) fn hidden(&self, key: &'static str) -> BTreeSet<String> {
        self.node(key).map(json::hidden).unwrap_or_default()
    }
}

impl Drop for Section<'_> {
    fn drop(&mut self) {
        if let Some(keys) = self.problems.keys() {
            let note = |key: &&'static str| keys.know(&join(&self.path, key));
            self.vocabulary.read().iter().for_each(note);
        }
        for (entry, instead) in self.vocabulary.unknown(self.entries) {
            let path = join(&self.path, &entry.key);
            self.problems
                .add(Problem::at(&entry.at, path, "unknown key").instead(instead));
        }
    }
}
