//! Checks of the documentation pages: titles and links.

use crate::tree::{File, files, report, root};

fn pages() -> impl Iterator<Item = File> {
    files().into_iter().filter(|file| file.is("md"))
}

/// Returns a page's lines outside of code blocks.
fn prose(file: &File) -> impl Iterator<Item = &str> {
    let mut in_code = false;
    file.text.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        in_code ^= fence;
        !in_code && !fence
    })
}

/// Each page has one title.
#[test]
fn pages_have_one_title() {
    let wrong = pages().filter_map(|page| {
        let titles = prose(&page).filter(|line| line.starts_with("# ")).count();
        (titles != 1).then(|| format!("{} has {titles}", page.path.display()))
    });
    report("pages without exactly one title", wrong);
}

/// Every relative link of every page leads to an existing file.
#[test]
fn links_resolve() {
    let mut findings = Vec::new();
    for page in pages() {
        let folder = root().join(&page.path);
        let folder = folder.parent().expect("a page is in a folder");
        for line in prose(&page) {
            for link in line.split("](").skip(1) {
                let link = link.split([')', '#', ' ']).next().unwrap_or_default();
                let elsewhere =
                    link.is_empty() || link.contains("://") || link.starts_with("mailto:");
                if !elsewhere && !folder.join(link).exists() {
                    findings.push(format!("{}: {link}", page.path.display()));
                }
            }
        }
    }
    report("links that lead nowhere", findings);
}

/// Returns the files that a page about the host names in backticks: `` `pipeline/src/queue.rs` ``.
fn named_files(page: &str) -> impl Iterator<Item = &str> {
    let quoted = page.split('`').skip(1).step_by(2);
    quoted.filter(|text| text.ends_with(".rs") && !text.contains(' '))
}

/// Returns the functions of a page's tables: the name, and the file, from rows that end in both.
fn named_functions(page: &str) -> impl Iterator<Item = (&str, &str)> {
    page.lines().filter_map(|line| {
        let mut cells = line.strip_prefix('|')?.trim_end().rsplit('|').skip(1);
        let file = cells.next()?.trim().strip_prefix('`')?.strip_suffix('`')?;
        let name = cells.next()?.trim().strip_prefix('`')?.strip_suffix('`')?;
        file.ends_with(".rs").then_some((name, file))
    })
}

/// Every file and every function that the page about the architecture names exists.
#[test]
fn the_architecture_names_what_exists() {
    let host = root().join("host");
    let page = std::fs::read_to_string(host.join("ARCHITECTURE.md")).expect("the page");
    let (files, functions) = (named_files(&page), named_functions(&page));
    let missing = files.filter(|file| !host.join(file).is_file());
    let mut findings: Vec<String> = missing.map(str::to_owned).collect();
    let mut rows = 0;
    for (name, file) in functions {
        rows += 1;
        let source = std::fs::read_to_string(host.join(file)).unwrap_or_default();
        let is_there = [format!("fn {name}("), format!("fn {name}<")];
        if !is_there.iter().any(|it| source.contains(it)) {
            findings.push(format!("{name} in {file}"));
        }
    }
    assert!(rows > 20, "the tables were not found");
    report(
        "files and functions of the page that do not exist",
        findings,
    );
}

/// Files are found in backticks, and functions in the last two cells of a row.
#[test]
fn names_are_read_from_a_page() {
    let page = "The `Entry` is in `a/src/b.rs`.\n\n| step | function | file |\n| --- | --- | --- |\n\
                | it `runs` | `run` | `a/src/c.rs` |\n| a layer | no function | `a/src/d.rs` |\n";
    let files: Vec<&str> = named_files(page).collect();
    assert_eq!(files, ["a/src/b.rs", "a/src/c.rs", "a/src/d.rs"]);
    let functions: Vec<_> = named_functions(page).collect();
    assert_eq!(functions, [("run", "a/src/c.rs")]);
}
