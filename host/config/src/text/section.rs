//! Reads one map of the raw tree, key by key, and notes all problems on the way: values of the
//! wrong type or out of range, and keys that nobody asked for.

mod values;

use std::cell::RefCell;
use std::collections::BTreeSet;

use spandrel_otlp::secret::Secret;

use super::json;
use super::plugin_config::PluginConfig;
use super::tree::{Entry, Node, Value, join};
use crate::problem::{Location, Problem, Problems};
use crate::suggest::closest;

/// One map. Every key that it may have must be asked for before the section is dropped: a key that
/// was not asked for is reported as unknown.
pub(crate) struct Section<'a> {
    entries: &'a [Entry],
    at: Location,
    path: String,
    problems: &'a Problems,
    asked: RefCell<Vec<&'static str>>,
    /// Keys that are known but not suggested: they are refused, or have no meaning here.
    hidden: RefCell<Vec<&'static str>>,
    /// True if the keys are names that the operator chose.
    free: bool,
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
            asked: RefCell::default(),
            hidden: RefCell::default(),
            free: false,
        }
    }

    /// Returns the entries of a map whose keys are names that the operator chose.
    pub(crate) fn into_named(mut self) -> impl Iterator<Item = (&'a Entry, String)> {
        self.free = true;
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

    fn entry(&self, key: &'static str) -> Option<&'a Entry> {
        let mut asked = self.asked.borrow_mut();
        if !asked.contains(&key) {
            asked.push(key);
        }
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
        self.hidden.borrow_mut().extend(keys);
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
        self.hidden.borrow_mut().push(key);
        let entry = self.entries.iter().find(|entry| entry.key == key);
        if entry.is_some_and(|entry| entry.node.value != Value::Null) {
            self.not_offered_at_all(key, instead);
        }
    }

    /// Does the same for a key that has an effect in the Collector even without a value.
    pub(crate) fn not_offered_at_all(&self, key: &'static str, instead: &str) {
        self.hidden.borrow_mut().push(key);
        if let Some(entry) = self.entries.iter().find(|entry| entry.key == key) {
            let what = "not offered by this version of spandrel";
            let problem = Problem::at(&entry.at, join(&self.path, key), what);
            self.problems.add(problem.instead(instead));
        }
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
        self.raw(key).map(Secret::from)
    }

    pub(crate) fn string(&self, key: &'static str) -> Option<String> {
        self.raw(key).map(str::to_owned)
    }

    /// Returns a value with a notation of its own. `parse` returns what to write instead as its
    /// error.
    pub(crate) fn parsed<T>(
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
        let text = self.entry(key).and_then(|entry| entry.node.text());
        if text.is_none() && self.node(key).is_none() {
            let what = format!("the key `{key}` is missing");
            self.wrong(what, format!("add `{key}: {example}`"));
        }
    }

    /// Returns a list of texts with their places. A single text is a list of one.
    pub(crate) fn strings(&self, key: &'static str) -> Vec<(&'a str, &'a Location)> {
        let nodes = self.texts(key);
        nodes.iter().map(|(text, node)| (*text, &node.at)).collect()
    }

    /// Returns the same list, with the nodes instead of the places.
    pub(crate) fn texts(&self, key: &'static str) -> Vec<(&'a str, &'a Node)> {
        let Some(node) = self.node(key) else {
            return Vec::new();
        };
        // The content of a variable may be a list here; only its items are texts.
        let nodes = match &node.value {
            Value::List(nodes) => nodes.as_slice(),
            Value::Scalar(_) => std::slice::from_ref(node),
            Value::Null | Value::Reported => return Vec::new(),
            Value::Map(_) => {
                self.wrong_key(key, "expected a list of names, found a map", "write [a, b]");
                return Vec::new();
            }
        };
        let mut texts = Vec::with_capacity(nodes.len());
        for (index, item) in nodes.iter().enumerate() {
            if let Some(text) = item.text() {
                texts.push((text, item));
            } else if item.value != Value::Reported {
                let path = join(&join(&self.path, key), &index.to_string());
                let what = format!("expected a name, found {}", item.value.kind());
                self.problems.add(Problem::at(&item.at, path, what));
            }
        }
        texts
    }

    /// Returns a value as JSON, for a plugin to read.
    pub(crate) fn json(&self, key: &'static str) -> PluginConfig {
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
        if self.free {
            return;
        }
        let known = self.asked.borrow();
        let hidden = self.hidden.borrow();
        #[cfg(test)]
        super::keys::note(&self.path, &known, &hidden);
        for entry in self.entries {
            let key = entry.key.as_str();
            if known.contains(&key) || hidden.contains(&key) {
                continue;
            }
            let instead = match closest(key, &known) {
                Some(near) => format!("did you mean `{near}`?"),
                None if known.is_empty() => "no keys are known here".to_owned(),
                None => format!("known keys: {}", known.join(", ")),
            };
            let path = join(&self.path, &entry.key);
            self.problems
                .add(Problem::at(&entry.at, path, "unknown key").instead(instead));
        }
    }
}
