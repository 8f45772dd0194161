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
