//! Rules for the form of source files.

use crate::tree::{File, files, report};

/// The hard limit of lines in a file; most files should be far below.
const MOST_LINES: usize = 500;

/// Names that do not describe the content of a module.
const EMPTY_NAMES: [&str; 6] = ["utils", "util", "common", "helpers", "types", "manager"];

/// Each word is written in two parts, so that this file does not find itself.
const LEFT_BEHIND: [&str; 4] = [
    concat!("to", "do!("),
    concat!("unimple", "mented!("),
    concat!("FIX", "ME"),
    concat!("TO", "DO"),
];
const MACHINE_PATHS: [&str; 4] = [
    concat!("/wo", "rk/"),
    concat!("/ro", "ot/"),
    concat!("/ho", "me/"),
    concat!("/Us", "ers/"),
];

fn rust_files() -> impl Iterator<Item = File> {
    files().into_iter().filter(|file| file.is("rs"))
}

fn lines_with(words: &[&str]) -> Vec<String> {
    let mut findings = Vec::new();
    for file in files() {
        for (number, line) in (1..).zip(file.text.lines()) {
            if words.iter().any(|word| line.contains(word)) {
                findings.push(format!("{}:{number}: {line}", file.path.display()));
            }
        }
    }
    findings
}

/// No source file is too long to be read in one sitting.
#[test]
fn files_are_short() {
    let long = rust_files().filter_map(|file| {
        let lines = file.text.lines().count();
        (lines > MOST_LINES).then(|| format!("{} has {lines} lines", file.path.display()))
    });
    report("files that are too long", long);
}

/// Modules are `name.rs` with `name/`, and their names describe their content.
#[test]
fn modules_are_named_for_what_is_in_them() {
    let wrong = rust_files().filter(|file| {
        let stem = file.path.file_stem().unwrap_or_default().to_string_lossy();
        stem == "mod" || EMPTY_NAMES.contains(&&*stem)
    });
    report(
        "modules with a name that says nothing",
        wrong.map(|file| file.path.display().to_string()),
    );
}

/// No work is left for later, and the tree contains no path of a developer's machine.
#[test]
fn nothing_is_left_behind() {
    report("left for later", lines_with(&LEFT_BEHIND));
    report("paths of a machine", lines_with(&MACHINE_PATHS));
}

/// Every module begins with a comment on its purpose. Tests are next to the code that they test,
/// and need none.
#[test]
fn modules_say_what_they_are_for() {
    let silent = rust_files().filter(|file| {
        let is_test =
            file.path.ends_with("tests.rs") || file.path.iter().any(|part| part == "tests");
        !is_test && !file.text.starts_with("//!")
    });
    report(
        "modules that do not say what they are for",
        silent.map(|file| file.path.display().to_string()),
    );
}

/// Every test says what it proves. The tests in the SDK's README are excepted: they are as short as
/// a reader's.
#[test]
fn tests_say_what_they_prove() {
    let mut findings = Vec::new();
    for file in rust_files().filter(|file| !file.under("guest/tests/readme")) {
        let lines: Vec<&str> = file.text.lines().map(str::trim).collect();
        for (number, line) in (1..).zip(&lines) {
            if !line.starts_with("#[test]") && !line.starts_with("#[tokio::test") {
                continue;
            }
            let before = lines[..number - 1].iter().rev();
            let mut said = before.take_while(|line| !line.is_empty());
            if !said.any(|line| line.starts_with("///")) {
                findings.push(format!("{}:{number}", file.path.display()));
            }
        }
    }
    report("tests without a promise", findings);
}
