//! Rules for the English of comments.

use crate::tree::{files, report};

/// Words that open a sentence without a subject ("Whether it is open.") in a comment.
const HEADLESS: [&str; 9] = [
    "What ", "Whether ", "Who ", "Whom ", "Whose ", "Whoever ", "Of ", "How ", "Where ",
];

/// Doc comments here are the help text of the command line, where such phrases are usual.
const HELP: &str = "host/spandrel/src/cli";

/// Returns the text of a line that is a comment.
fn comment(line: &str) -> Option<&str> {
    let text = line.trim_start().strip_prefix("//")?;
    Some(text.trim_start_matches(['/', '!']).trim_start())
}

/// Returns the numbers of the lines where a comment begins without a subject.
fn headless(text: &str) -> Vec<usize> {
    let mut found = Vec::new();
    let mut begins = true;
    for (number, line) in (1..).zip(text.lines()) {
        let comment = comment(line);
        let is_headless =
            comment.is_some_and(|text| HEADLESS.iter().any(|word| text.starts_with(word)));
        if begins && is_headless {
            found.push(number);
        }
        begins = comment.is_none();
    }
    found
}

/// A comment says what it is about: it does not begin with a clause that has no subject.
#[test]
fn comments_begin_with_a_subject() {
    let mut findings = Vec::new();
    for file in files().into_iter().filter(|file| file.is("rs")) {
        if file.path.to_string_lossy().starts_with(HELP) {
            continue;
        }
        let path = file.path.display();
        findings.extend(
            headless(&file.text)
                .iter()
                .map(|line| format!("{path}:{line}")),
        );
    }
    report("comments that begin without a subject", findings);
}

/// The rule finds a violation in each kind of comment, and only where a comment begins.
#[test]
fn a_headless_comment_is_found() {
    let text = "//! What this is.\n\n/// Returns it.\n/// Where it is, too.\nfn it() {\n    // Of both.\n}\n\
                /// Whatever comes is taken.\nfn any() {}\n";
    assert_eq!(headless(text), [1, 6]);
}
