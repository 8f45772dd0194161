//! The reference is complete and up to date: each key has a meaning, and a test of its effect or a
//! message; the page and the schema in the repository are those of the code.
//!
//! A new key without a line in `meanings.txt` or in `tests/config/keys.txt` fails here. So does a key
//! that is refused or ignored without a golden case that shows the message.

mod schema;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::{keys, meanings, page};
use crate::check;
use crate::key::{Key, Treatment, pattern};
use crate::problem::{Location, Problems};
use crate::text::tree::Node;
use crate::text::{env, yaml};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Returns all files below a folder with this extension, in order.
fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("the folder is there") {
            let path = entry.expect("it can be read").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|it| it == extension) {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).expect("it can be read")
}

/// Returns the tree of a file; `None` if it is not YAML.
fn tree(file: &Path) -> Option<Node> {
    let at = Location::start(&file.display().to_string().into());
    yaml::parse(&at.source, &read(file)).ok()
}

/// Returns the paths in the messages of the golden cases.
fn told() -> BTreeSet<String> {
    let mut paths = BTreeSet::new();
    for extension in ["err", "warn"] {
        for file in files("tests/config", extension) {
            let text = read(&file);
            let words = text.lines().flat_map(|line| line.split(": "));
            paths.extend(words.map(pattern));
        }
    }
    paths
}

/// Returns the keys that are written out in the code that reads the configuration.
fn written() -> BTreeSet<String> {
    const READERS: [&str; 30] = [
        "section",
        "sections",
        "string",
        "secret",
        "file",
        "parsed",
        "parsed_or",
        "parsed_list",
        "integer",
        "integer_opt",
        "float",
        "boolean",
        "choice",
        "exact_choice",
        "size",
        "duration",
        "duration_opt",
        "duration_positive",
        "duration_least",
        "duration_least_or_zero",
        "duration_to_an_hour",
        "texts",
        "node",
        "has",
        "json",
        "required",
        "is_map",
        "mib",
        "time",
        "percent",
    ];
    let mut keys = BTreeSet::new();
    for file in files("host/config/src", "rs") {
        let text = read(&file);
        let text = text.split("#[cfg(test)]\nmod tests {").next();
        let text = text.unwrap_or_default();
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
    let text = read(&root().join("tests/config/keys.txt"));
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

/// Returns true if other keys are below the path.
fn is_section(keys: &BTreeMap<String, Key>, path: &str) -> bool {
    let prefix = format!("{path}::");
    keys.keys().any(|key| key.starts_with(&prefix))
}

/// Every key that is read has a test of its effect, and every other known key has a message.
#[test]
fn every_key_does_what_it_says_or_says_that_it_does_not() {
    let (keys, told, listed) = (keys(), told(), listed());
    let mut wrong = Vec::new();
    for (path, key) in &keys {
        let is_read = key.treatment == Treatment::Read;
        match (is_read, listed.get(path)) {
            (false, None) if told.contains(path) => {}
            (false, None) => wrong.push(format!("{path}: no golden case has its message")),
            (false, Some(_)) => wrong.push(format!("{path}: does nothing, and is in the list")),
            (true, None) if is_section(&keys, path) => {}
            (true, None) => wrong.push(format!("{path}: no test in tests/config/keys.txt")),
            (true, Some(test)) => {
                wrong.extend(missing(test).map(|what| format!("{path}: {what}")));
            }
        }
    }
    for path in listed.keys().filter(|path| !keys.contains_key(*path)) {
        wrong.push(format!("{path}: in the list, and not known"));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Every key has a form, which the page and the schema show: a reader that only looks whether the
/// key is there is not enough.
#[test]
fn every_key_has_a_form() {
    let keys = keys();
    let read = keys
        .iter()
        .filter(|(_, key)| key.treatment == Treatment::Read);
    let formless: Vec<&String> = read
        .filter(|(_, key)| key.forms.is_empty())
        .map(|(path, _)| path)
        .collect();
    assert!(formless.is_empty(), "{formless:?}");
}

/// Every key and every section that is read has a meaning, and every meaning has its key. The reason
/// of a key that is not read is in the code that refuses it.
#[test]
fn every_key_has_its_meaning() {
    let keys = keys();
    let mut known = BTreeSet::new();
    for (path, key) in &keys {
        if key.treatment == Treatment::Read {
            known.insert(path.as_str());
        }
        let ends = path.match_indices("::").map(|(at, _)| at);
        known.extend(ends.filter_map(|at| path.get(..at)));
    }
    let meanings: Vec<meanings::Meaning> = meanings::all().collect();
    let explained: BTreeSet<&str> = meanings.iter().map(|it| it.path.as_str()).collect();
    assert_eq!(meanings.len(), explained.len(), "a key is there twice");
    let without: Vec<_> = known.difference(&explained).collect();
    assert!(without.is_empty(), "without a meaning: {without:#?}");
    let unknown: Vec<_> = explained.difference(&known).collect();
    assert!(unknown.is_empty(), "without a key: {unknown:#?}");
    for meaning in &meanings {
        let is_sentence = meaning.text.ends_with('.') && !meaning.in_collector.is_empty();
        assert!(is_sentence, "{}: {}", meaning.path, meaning.text);
    }
}

/// The skeleton has every section: each key in the code, and each key of the good configurations, is
/// among the keys that were asked for.
#[test]
fn no_key_is_out_of_sight() {
    let keys = keys();
    let seen: BTreeSet<&str> = keys.keys().flat_map(|path| path.split("::")).collect();
    let unseen: Vec<String> = written()
        .into_iter()
        .filter(|key| !seen.contains(key.as_str()))
        .collect();
    assert!(unseen.is_empty(), "{unseen:?}");
    for file in files("tests/config/good", "yaml") {
        let mut root = tree(&file).expect("YAML");
        let problems = Problems::noting();
        env::expand(&mut root, "", &|_| Some("1".to_owned()), &problems);
        check::check(&root, &problems);
        let asked = problems.into_keys().into_all();
        let unseen: Vec<&String> = asked
            .keys()
            .filter(|key| !keys.contains_key(*key))
            .collect();
        assert!(unseen.is_empty(), "{}: {unseen:?}", file.display());
    }
}

/// Fails unless the file has this text. With `UPDATE_GOLDEN`, writes it.
fn assert_golden(path: &str, text: &str) {
    let file = root().join(path);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&file, text).expect("it can be written");
    }
    let on_file = std::fs::read_to_string(&file).unwrap_or_default();
    let differs = on_file
        .lines()
        .zip(text.lines())
        .find(|(old, new)| old != new);
    assert!(
        on_file == text,
        "{path} is out of date: UPDATE_GOLDEN=1 cargo test -p spandrel-config reference\n{differs:#?}"
    );
}

/// The page in the repository is that of the code.
#[test]
fn the_page_is_up_to_date() {
    assert_golden("host/CONFIGURATION.md", &page::page(&keys()));
}

/// The schema in the repository is that of the code.
#[test]
fn the_schema_is_up_to_date() {
    assert_golden("host/config/schema.json", &super::schema());
}
