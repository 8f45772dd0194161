//! Rules for the English of comments and pages.

use crate::tree::{files, report};

/// Words that open a sentence without a subject ("Whether it is open."), wherever it stands. A
/// sentence that begins with such a clause and goes on is hard to read, too, so both are refused.
const HEADLESS: [&str; 6] = ["What ", "Whether ", "Who ", "Whom ", "Whose ", "Whoever "];

/// Words that open a comment without a subject ("Where it is."). A later sentence may begin with a
/// clause of this kind.
const HEADLESS_AT_FIRST: [&str; 3] = ["Of ", "How ", "Where "];

/// Doc comments here are the help text of the command line, where such phrases are usual.
const HELP: &str = "host/spandrel/src/cli";

/// A paragraph of a comment or a page, as one line.
#[derive(Debug, Default)]
struct Paragraph {
    /// The number of its first line.
    line: usize,
    text: String,
    /// True if it is the first of a comment.
    is_first: bool,
}

impl Paragraph {
    /// Returns true if a sentence of the paragraph has no subject.
    fn is_headless(&self) -> bool {
        let begins = |text: &str, words: &[&str]| words.iter().any(|word| text.starts_with(word));
        let mut sentences = sentences(&self.text);
        sentences.any(|sentence| begins(sentence, &HEADLESS) && !sentence.ends_with('?'))
            || self.is_first && begins(&self.text, &HEADLESS_AT_FIRST)
    }
}

/// Returns the sentences of a paragraph, without emphasis or a bracket in front.
fn sentences(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let ends = [". ", "! ", "? ", ".) "].map(|end| rest.find(end).map(|at| at + end.len()));
        let end = ends.into_iter().flatten().min().unwrap_or(rest.len());
        let (sentence, after) = rest.split_at(end);
        rest = after;
        Some(sentence.trim().trim_start_matches(['*', '_', '(']))
    })
}

/// Returns a list item without its mark.
fn item(line: &str) -> Option<&str> {
    let digits = line.trim_start_matches(|it: char| it.is_ascii_digit());
    let mark = if digits.len() < line.len() {
        ". "
    } else {
        "- "
    };
    digits.strip_prefix(mark)
}

/// Collects paragraphs line by line.
#[derive(Default)]
struct Paragraphs {
    found: Vec<Paragraph>,
    in_code: bool,
    is_open: bool,
    is_first: bool,
}

impl Paragraphs {
    /// Begins another comment or page.
    fn begin(&mut self) {
        (self.in_code, self.is_open, self.is_first) = (false, false, true);
    }

    /// Adds a line of text. Code blocks and tables are left out; a heading stands for itself.
    fn add(&mut self, number: usize, line: &str) {
        let line = line.trim();
        let is_fence = line.starts_with("```");
        self.in_code ^= is_fence;
        if self.in_code || is_fence || line.is_empty() || line.starts_with('|') {
            (self.is_open, self.is_first) = (false, false);
            return;
        }
        let (text, begins) = match (line.strip_prefix('#'), item(line)) {
            (Some(heading), _) => (heading.trim_start_matches('#').trim_start(), true),
            (None, Some(item)) => (item, true),
            (None, None) => (line, !self.is_open),
        };
        match self.found.last_mut().filter(|_| !begins) {
            Some(paragraph) => {
                paragraph.text.push(' ');
                paragraph.text.push_str(text);
            }
            None => self.found.push(Paragraph {
                line: number,
                text: text.to_owned(),
                is_first: self.is_first,
            }),
        }
        self.is_first = false;
        self.is_open = !line.starts_with('#');
    }
}

/// Returns the text of a line that is a comment.
fn comment(line: &str) -> Option<&str> {
    let text = line.trim_start().strip_prefix("//")?;
    Some(text.trim_start_matches(['/', '!']))
}

/// Returns the paragraphs of the comments in Rust source.
fn comments(text: &str) -> Vec<Paragraph> {
    let mut paragraphs = Paragraphs::default();
    let mut begins = true;
    for (number, line) in (1..).zip(text.lines()) {
        let comment = comment(line);
        if let Some(text) = comment {
            if begins {
                paragraphs.begin();
            }
            paragraphs.add(number, text);
        }
        begins = comment.is_none();
    }
    paragraphs.found
}

/// Returns the paragraphs of a page.
fn page(text: &str) -> Vec<Paragraph> {
    let mut paragraphs = Paragraphs::default();
    for (number, line) in (1..).zip(text.lines()) {
        paragraphs.add(number, line);
    }
    paragraphs.found
}

/// Returns the numbers of the lines where a paragraph begins that has a sentence without a subject.
fn headless(paragraphs: &[Paragraph]) -> Vec<usize> {
    let found = paragraphs.iter().filter(|it| it.is_headless());
    found.map(|it| it.line).collect()
}

/// Every sentence of a comment or a page has a subject.
#[test]
fn sentences_have_a_subject() {
    let mut findings = Vec::new();
    for file in files() {
        let paragraphs = match () {
            () if file.under(HELP) => continue,
            () if file.is("rs") => comments(&file.text),
            () if file.is("md") => page(&file.text),
            () => continue,
        };
        let path = file.path.display();
        let lines = headless(&paragraphs);
        findings.extend(lines.iter().map(|line| format!("{path}:{line}")));
    }
    report("paragraphs with a sentence without a subject", findings);
}

/// The rule finds a violation in each kind of comment, in each sentence, and over a line's end.
#[test]
fn a_headless_comment_is_found() {
    let text = "//! What this is.\n\n/// Returns it.\n/// Where it is, too.\nfn it() {\n    // Of both.\n}\
                \n\n/// Whatever comes is taken.\nfn any() {}\
                \n\n/// Returns it. What is left\n/// stays.\nfn rest() {}\
                \n\n/// Returns it.\n/// Who asks gets it.\nfn ask() {}\
                \n\n/// Returns it.\n///\n/// - Whether it is.\nfn list() {}\
                \n\n/// ```\n/// What(). What now\n/// ```\n/// Where it is not, it is made.\nfn made() {}\n";
    assert_eq!(headless(&comments(text)), [1, 6, 12, 16, 22]);
}

/// The rule finds a violation in the paragraphs, lists and headings of a page. Questions, tables and
/// code are left alone.
#[test]
fn a_headless_page_is_found() {
    let text = "# What a page says\n\n## What is it?\n\nText. **What is left** stays.\n\n\
                1. One.\n2. Who asks\n   is told.\n- What now? It ends. Where not, it goes on.\n\n\
                | What | Who |\n\n```sh\nWhat is this. Who knows\n```\n\nThe end\nof it. Whose\nit is.\n";
    assert_eq!(headless(&page(text)), [1, 5, 8, 18]);
}
