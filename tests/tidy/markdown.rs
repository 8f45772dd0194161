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

/// Returns the path of modules that a file of the host is: `host/wire/src/edit/splice.rs` is
/// `wire::edit::splice`.
fn module(file: &File) -> Option<String> {
    let path = file.path.with_extension("");
    let inside = path.strip_prefix("host").ok()?.to_str()?;
    let (owner, modules) = inside.split_once("/src/")?;
    Some(format!("{owner}::{}", modules.replace('/', "::")))
}

/// Returns the paths of modules that a glossary names: `` `stage::held` ``. A type at the end is
/// left out.
fn named(page: &str) -> Vec<String> {
    let glossary = page.split("## Glossary").nth(1).unwrap_or_default();
    let quoted = glossary.split('`').skip(1).step_by(2);
    let paths = quoted.filter(|text| text.contains("::"));
    let modules = paths.map(|path| {
        let names = path.split("::");
        let lower = names.take_while(|name| name.starts_with(char::is_lowercase));
        lower.collect::<Vec<_>>().join("::")
    });
    modules.collect()
}

/// Every module that the glossary of the code names exists.
#[test]
fn the_glossary_names_modules() {
    let all: Vec<String> = files().iter().filter_map(module).collect();
    let page = std::fs::read_to_string(root().join("host/ARCHITECTURE.md")).expect("the page");
    let named = named(&page);
    assert!(named.len() > 20, "the glossary was not found");
    let is_there = |path: &String| {
        let (end, begin) = (format!("::{path}"), format!("{path}::"));
        let is_it =
            |known: &String| known == path || known.ends_with(&end) || known.starts_with(&begin);
        all.iter().any(is_it)
    };
    report(
        "modules of the glossary that do not exist",
        named.into_iter().filter(|path| !is_there(path)),
    );
}
