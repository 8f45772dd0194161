//! The methods of a type are in one file. When that file grows too long, a type with fields of its own
//! is taken out of it, not a second block of methods.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::source::code;
use crate::tree::{files, report};

/// Types whose methods are in two files, each with the reason.
const EXCEPTIONS: [(&str, &str); 2] = [
    // Authors find the answers of the semantic conventions on the span; the span itself
    // must not need the conventions.
    ("guest/src/conventions.rs", "Span"),
    // A swap needs the host of both generations, which must not need swaps.
    ("guest/src/testing/swap.rs", "TestHost"),
];

/// The types that a file gives methods to, apart from those that it defines.
struct Methods {
    file: String,
    own: Vec<String>,
    others: Vec<String>,
}

impl Methods {
    fn of(file: String, text: &str) -> Self {
        let code = code(text);
        let defined: Vec<&str> = names_after(&code, &["struct ", "enum ", "union "]).collect();
        let blocks = code.split("\nimpl").skip(1);
        let types = blocks.filter_map(|block| inherent(block.split('{').next()?));
        let (own, others) = types.partition(|name| defined.contains(&name.as_str()));
        Self { file, own, others }
    }
}

/// Returns the files of one crate that have methods of a type while another file has methods of it,
/// too. Types of the same name are told apart by their definitions.
fn scattered(files: &[Methods]) -> Vec<String> {
    let mut found = Vec::new();
    for one in files {
        for name in &one.others {
            let mut beside = files.iter().filter(|it| it.file != one.file);
            if beside.any(|it| it.own.contains(name) || it.others.contains(name)) {
                found.push(format!("{}: {name}", one.file));
            }
        }
    }
    found
}

/// Returns the names that come after one of these words.
fn names_after<'a>(code: &'a str, words: &'a [&str]) -> impl Iterator<Item = &'a str> {
    let lines = code.lines().map(str::trim_start);
    lines.filter_map(|line| {
        let at = words.iter().find_map(|word| {
            let at = line.find(word)?;
            let before = &line[..at];
            let is_item = before.is_empty() || (before.starts_with("pub") && before.ends_with(' '));
            is_item.then_some(at + word.len())
        })?;
        line[at..].split(|it: char| !is_name(it)).next()
    })
}

/// Returns the type of a block of methods without a trait. `head` is what comes between `impl` and
/// the brace.
fn inherent(head: &str) -> Option<String> {
    if head.split_whitespace().any(|word| word == "for") || !head.starts_with([' ', '<']) {
        return None;
    }
    let path = after_generics(head).trim_start();
    let path = path
        .split(|it: char| it == '<' || it.is_whitespace())
        .next()?;
    let name = path.rsplit("::").next()?;
    name.starts_with(|it: char| it.is_ascii_uppercase())
        .then(|| name.to_owned())
}

/// Returns what comes after `<..>` at the beginning.
fn after_generics(text: &str) -> &str {
    if !text.starts_with('<') {
        return text;
    }
    let mut depth = 0_usize;
    for (at, letter) in text.char_indices() {
        match letter {
            '<' => depth += 1,
            '>' if !text[..at].ends_with('-') => depth -= 1,
            _ => continue,
        }
        if depth == 0 {
            return &text[at + 1..];
        }
    }
    ""
}

fn is_name(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

/// A type's methods are in one file.
#[test]
fn a_types_methods_are_in_one_file() {
    let mut crates: BTreeMap<PathBuf, Vec<Methods>> = BTreeMap::new();
    for file in files().into_iter().filter(|file| file.is("rs")) {
        let parts: Vec<_> = file.path.iter().collect();
        let end = parts
            .iter()
            .position(|part| *part == "src" || *part == "tests");
        let folder = parts[..end.map_or(0, |end| end + 1)].iter().collect();
        let methods = Methods::of(file.path.display().to_string(), &file.text);
        crates.entry(folder).or_default().push(methods);
    }
    assert!(crates.len() > 8, "the crates were not found");
    let findings = crates.values().flat_map(|files| scattered(files));
    let except = EXCEPTIONS.map(|(file, name)| format!("{file}: {name}"));
    let findings = findings.filter(|finding| !except.contains(finding));
    report("a type with methods in several files", findings);
}

/// A second block of methods in another file is found, with and without generics. Traits, comments
/// and tests add no methods, and types of the same name are not one type.
#[test]
fn methods_in_two_files_are_found() {
    let texts = [
        (
            "a",
            "pub(crate) struct Own<'a>(&'a str);\nenum Far { A }\nimpl<'a> Own<'a> {}\nimpl Far {}\n",
        ),
        (
            "b",
            "use a::Far;\nimpl<F: Fn(u8) -> u8> super::Far<F>\nwhere F: Send {}\nimpl Alone {}\n",
        ),
        (
            "c",
            "struct Far;\nimpl Far {}\nimpl From<Far> for Own<'_> {}\nimpl<T> Drop\n    for Own<'_>\n{\n}\n",
        ),
        (
            "d",
            "// impl Own {}\n#[cfg(test)]\nmod tests {\nimpl Far {}\n}\n",
        ),
    ];
    let files = texts.map(|(file, text)| Methods::of(file.to_owned(), text));
    assert_eq!(scattered(&files), ["b: Far"]);
}
