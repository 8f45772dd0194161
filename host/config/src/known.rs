//! Compares every key that the configuration may have, as the code that reads it asks for it, with
//! the list of tests that show what each key does.
//!
//! A new key without a line in `tests/config/keys.txt` fails here. So does a key that is refused or
//! ignored without a golden case that shows the message.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::examine::Examined;
use crate::text::keys::{KEYS, Known, pattern};
use crate::text::source::Sources;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("the folder is there");
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.expect("it can be read").path();
        if path.is_dir() {
            files.extend(self::files(&path, extension));
        } else if path.extension().is_some_and(|it| it == extension) {
            files.push(path);
        }
    }
    files
}

/// Reads all good configurations, which together have every section, and returns the keys.
fn all() -> BTreeMap<String, Known> {
    KEYS.with_borrow_mut(BTreeMap::clear);
    for file in files(&root().join("tests/config/good"), "yaml") {
        let sources = Sources {
            configs: vec![file.display().to_string()],
            sets: Vec::new(),
        };
        drop(Examined::read_with(&sources, &|_| Some("1".to_owned())));
    }
    KEYS.with_borrow(Clone::clone)
}

/// Returns the paths in the messages of the golden cases.
fn told() -> BTreeSet<String> {
    let folder = root().join("tests/config");
    let mut paths = BTreeSet::new();
    for extension in ["err", "warn"] {
        for file in files(&folder, extension) {
            let text = std::fs::read_to_string(file).expect("it can be read");
            let words = text.lines().flat_map(|line| line.split(": "));
            paths.extend(words.map(pattern));
        }
    }
    paths
}

/// Returns the keys that are written out in the code that reads the configuration.
fn written() -> BTreeSet<String> {
    const READERS: [&str; 26] = [
        "section",
        "string",
        "secret",
        "parsed",
        "integer",
        "float",
        "boolean",
        "choice",
        "duration",
        "duration_opt",
        "duration_positive",
        "duration_least",
        "strings",
        "texts",
        "node",
        "has",
        "json",
        "required",
        "is_map",
        "mib",
        "time",
        "optional",
        "path",
        "version",
        "percent",
        "bounded",
    ];
    let mut keys = BTreeSet::new();
    for file in files(&root().join("host/config/src"), "rs") {
        let text = std::fs::read_to_string(file).expect("it can be read");
        let text = text
            .split("#[cfg(test)]")
            .next()
            .unwrap_or_default()
            .to_owned();
        for reader in READERS {
            for call in text.split(&format!("{reader}(")).skip(1) {
                let call = call.trim_start();
                let key = call
                    .strip_prefix('"')
                    .and_then(|rest| rest.split('"').next());
                let is_key = |key: &&str| {
                    !key.is_empty() && key.bytes().all(|it| it.is_ascii_lowercase() || it == b'_')
                };
                keys.extend(key.filter(is_key).map(str::to_owned));
            }
        }
    }
    keys
}

/// Returns the lines of `KEY FILE::TEST` in `keys.txt`.
fn listed() -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(root().join("tests/config/keys.txt")).expect("the list");
    let lines = text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    let pairs = lines.map(|line| line.split_once(' ').expect("a key and a test"));
    pairs
        .map(|(key, test)| (key.to_owned(), test.trim().to_owned()))
        .collect()
}

/// Returns what is wrong with a line's `FILE::TEST`.
fn missing(test: &str) -> Option<String> {
    let Some((file, name)) = test.rsplit_once("::") else {
        return Some(format!("`{test}` is not FILE::TEST"));
    };
    let text = std::fs::read_to_string(root().join(file)).unwrap_or_default();
    let is_there = text.contains(&format!("fn {name}("));
    (!is_there).then(|| format!("there is no `fn {name}` in {file}"))
}

/// Every key that is read has a test of its effect, and every other known key has a message.
#[test]
fn every_key_does_what_it_says_or_says_that_it_does_not() {
    let (keys, told, listed) = (all(), told(), listed());
    let mut wrong = Vec::new();
    let is_section = |path: &str| {
        let prefix = format!("{path}::");
        keys.keys().any(|key| key.starts_with(&prefix))
    };
    for (path, known) in &keys {
        match (known, listed.get(path)) {
            (Known::Hidden, None) if told.contains(path) => {}
            (Known::Hidden, None) => wrong.push(format!("{path}: no golden case has its message")),
            (Known::Hidden, Some(_)) => {
                wrong.push(format!("{path}: does nothing, and is in the list"))
            }
            (Known::Asked, None) if is_section(path) => {}
            (Known::Asked, None) => wrong.push(format!("{path}: no test in tests/config/keys.txt")),
            (Known::Asked, Some(test)) => {
                wrong.extend(missing(test).map(|what| format!("{path}: {what}")));
            }
        }
    }
    for path in listed.keys().filter(|path| !keys.contains_key(*path)) {
        wrong.push(format!("{path}: in the list, and not known"));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The good configurations have every section: each key in the code is among the keys that were
/// asked for.
#[test]
fn no_key_is_out_of_sight() {
    let keys = all();
    let seen: BTreeSet<&str> = keys.keys().flat_map(|path| path.split("::")).collect();
    let unseen: Vec<String> = written()
        .into_iter()
        .filter(|key| !seen.contains(key.as_str()))
        .collect();
    assert!(unseen.is_empty(), "{unseen:?}");
}
