//! The keys that a section knows.

use std::cell::{Ref, RefCell};

use crate::suggest::closest;
use crate::text::tree::Entry;

/// The keys that a section knows, because its reader has asked for them.
#[derive(Default)]
pub(super) struct Vocabulary {
    read: RefCell<Vec<&'static str>>,
    /// Keys that are known but not suggested: they are refused, or have no meaning here.
    hidden: RefCell<Vec<&'static str>>,
    /// True if the keys are names that the operator chooses: then every key is known.
    is_open: bool,
}

impl Vocabulary {
    /// Knows every key from now on.
    pub(super) fn open(&mut self) {
        self.is_open = true;
    }

    /// Adds a key that is read.
    pub(super) fn add(&self, key: &'static str) {
        let mut read = self.read.borrow_mut();
        if !read.contains(&key) {
            read.push(key);
        }
    }

    /// Adds a key that is known but not suggested.
    pub(super) fn add_hidden(&self, key: &'static str) {
        self.hidden.borrow_mut().push(key);
    }

    /// Returns the keys that are read, in the order in which they were added.
    pub(super) fn read(&self) -> Ref<'_, Vec<&'static str>> {
        self.read.borrow()
    }

    /// Returns the entries whose keys are not known, each with the remedy.
    pub(super) fn unknown<'a>(&self, entries: &'a [Entry]) -> Vec<(&'a Entry, String)> {
        if self.is_open {
            return Vec::new();
        }
        let (read, hidden) = (self.read.borrow(), self.hidden.borrow());
        let unknown = entries.iter().filter(|entry| {
            let key = entry.key.as_str();
            !read.contains(&key) && !hidden.contains(&key)
        });
        let instead = |entry: &Entry| match closest(&entry.key, &read) {
            Some(near) => format!("did you mean `{near}`?"),
            None if read.is_empty() => "no keys are known here".to_owned(),
            None => format!("known keys: {}", read.join(", ")),
        };
        unknown.map(|entry| (entry, instead(entry))).collect()
    }
}
