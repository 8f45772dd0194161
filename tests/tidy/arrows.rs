//! Dependencies point inward, and each heavy one stays in a few crates.

use std::process::Command;

use serde_json::Value;

use crate::tree::{folders, report, root};

/// The crates of this workspace that each crate may use.
const ARROWS: [(&str, &[&str]); 21] = [
    ("spandrel-wire", &[]),
    ("spandrel-pipeline", &["spandrel-wire"]),
    ("spandrel-supply", &[]),
    ("spandrel-plugin", &["spandrel-pipeline", "spandrel-supply"]),
    ("spandrel-otlp", &["spandrel-pipeline", "spandrel-wire"]),
    ("spandrel-journal", &["spandrel-pipeline"]),
    ("spandrel-bench", &["spandrel-wire"]),
    (
        "spandrel-config",
        &[
            "spandrel-otlp",
            "spandrel-pipeline",
            "spandrel-supply",
            "spandrel-wire",
        ],
    ),
    (
        "spandrel-collector",
        &[
            "spandrel-config",
            "spandrel-journal",
            "spandrel-otlp",
            "spandrel-pipeline",
            "spandrel-plugin",
            "spandrel-supply",
            "spandrel-wire",
        ],
    ),
    (
        "spandrel-admin",
        &[
            "spandrel-collector",
            "spandrel-config",
            "spandrel-otlp",
            "spandrel-supply",
        ],
    ),
    (
        "spandrel",
        &[
            "spandrel-admin",
            "spandrel-bench",
            "spandrel-collector",
            "spandrel-config",
            "spandrel-journal",
            "spandrel-pipeline",
            "spandrel-plugin",
            "spandrel-wire",
        ],
    ),
    ("spandrel-guest", &["spandrel-wire"]),
    ("drop-duplicates", &["spandrel-guest"]),
    ("drop-health-checks", &["spandrel-guest"]),
    ("keep-interesting-traces", &["spandrel-guest"]),
    ("tag-by-service", &["spandrel-guest"]),
    ("spandrel-test-guests", &["spandrel-guest"]),
    ("spandrel-bindings", &[]),
    (
        "spandrel-fuzz",
        &[
            "spandrel-journal",
            "spandrel-otlp",
            "spandrel-pipeline",
            "spandrel-wire",
        ],
    ),
    ("spandrel-harness", &["spandrel", "spandrel-pipeline"]),
    (
        "spandrel-tests",
        &[
            "spandrel",
            "spandrel-config",
            "spandrel-guest",
            "spandrel-harness",
            "spandrel-otlp",
            "spandrel-pipeline",
            "spandrel-wire",
        ],
    ),
];

/// Additional crates that only tests and benches of a crate use.
const TEST_ARROWS: [(&str, &str); 6] = [
    ("spandrel-admin", "spandrel-pipeline"),
    ("spandrel-admin", "spandrel-wire"),
    ("spandrel-plugin", "spandrel-guest"),
    ("spandrel-plugin", "spandrel-wire"),
    ("spandrel-tests", "spandrel-plugin"),
    ("spandrel-tests", "spandrel-supply"),
];

/// Heavy dependencies by the beginning of their name, and the crates that may use them.
const HEAVY: [(&str, &[&str]); 6] = [
    ("wasmtime", &["spandrel-plugin"]),
    (
        "tonic",
        &["spandrel-otlp", "spandrel-bench", "spandrel-harness"],
    ),
    // The crate that fetches plugins shares nothing with the one that carries items: it talks to
    // other hosts, by other rules, and `otlp` must not be able to reach it.
    ("rustls", &["spandrel-otlp", "spandrel-supply"]),
    ("clap", &["spandrel"]),
    ("prometheus", &["spandrel"]),
    (
        "wit-bindgen",
        &[
            "spandrel-bindings",
            "spandrel-guest",
            "spandrel-test-guests",
        ],
    ),
];

struct Arrow {
    from: String,
    to: String,
    in_tests: bool,
}

fn arrows() -> Vec<Arrow> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps"])
        .current_dir(root())
        .output()
        .expect("cargo metadata");
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let packages = metadata["packages"].as_array().expect("packages");
    let arrows = packages.iter().flat_map(|package| {
        let dependencies = package["dependencies"].as_array().expect("dependencies");
        dependencies.iter().map(|dependency| Arrow {
            from: text(&package["name"]),
            to: text(&dependency["name"]),
            in_tests: dependency["kind"] == "dev",
        })
    });
    arrows.collect()
}

/// Dependencies follow `spandrel -> {otlp, plugin} -> pipeline -> wire <- guest <- examples`, and
/// no others exist.
#[test]
fn arrows_point_inward() {
    let ours: Vec<&str> = ARROWS.iter().map(|(name, _)| *name).collect();
    let wrong = arrows().into_iter().filter(|arrow| {
        let (from, to) = (arrow.from.as_str(), arrow.to.as_str());
        let allowed = ARROWS.iter().find(|(name, _)| *name == from);
        let allowed = allowed.is_some_and(|(_, targets)| targets.contains(&to));
        let in_tests = arrow.in_tests && TEST_ARROWS.contains(&(from, to));
        // A crate that is not in the table is not allowed at all.
        (ours.contains(&to) || !ours.contains(&from)) && !allowed && !in_tests
    });
    report(
        "arrows that the layout does not have",
        wrong.map(|arrow| format!("{} -> {}", arrow.from, arrow.to)),
    );
}

/// Each heavy dependency is used only by its own crates.
#[test]
fn heavy_dependencies_stay_where_they_are() {
    let wrong = arrows().into_iter().filter(|arrow| {
        let heavy = HEAVY.iter().find(|(name, _)| arrow.to.starts_with(name));
        !arrow.in_tests && heavy.is_some_and(|(_, homes)| !homes.contains(&arrow.from.as_str()))
    });
    report(
        "heavy dependencies outside of their crate",
        wrong.map(|arrow| format!("{} -> {}", arrow.from, arrow.to)),
    );
}

/// Returns the arrows that `host/README.md` draws: each crate of the host, and the crates that it
/// uses.
fn drawn(page: &str) -> Vec<(String, Vec<String>)> {
    let lines = page.lines().filter_map(|line| line.split_once(" -> "));
    let arrows = lines.map(|(from, to)| {
        let to = to.split(',').map(str::trim).filter(|to| !to.contains(' '));
        (from.trim().to_owned(), to.map(str::to_owned).collect())
    });
    arrows.collect()
}

/// The page about the host has every crate in its table, and the arrows of [`ARROWS`] in its
/// drawing.
#[test]
fn the_page_draws_the_true_arrows() {
    let page = std::fs::read_to_string(root().join("host/README.md")).expect("the page");
    let short = |name: &str| name.strip_prefix("spandrel-").unwrap_or(name).to_owned();
    let drawn = drawn(&page);
    let mut wrong = Vec::new();
    for name in folders("host") {
        if !page.contains(&format!("| [{name}](")) {
            wrong.push(format!("{name} is not in the table"));
        }
        let Some((_, uses)) = ARROWS.iter().find(|(from, _)| short(from) == name) else {
            wrong.push(format!("{name} is not among the arrows"));
            continue;
        };
        let mut uses: Vec<String> = uses.iter().map(|to| short(to)).collect();
        let seen = drawn.iter().find(|(from, _)| *from == name);
        let mut seen = seen.map(|(_, to)| to.clone()).unwrap_or_default();
        uses.sort();
        seen.sort();
        if uses != seen {
            wrong.push(format!("{name} uses {uses:?}, drawn are {seen:?}"));
        }
    }
    report("host/README.md does not show the crates as they are", wrong);
}

/// Arrows are read from the drawing; "none" is no crate.
#[test]
fn a_drawing_is_read() {
    let arrows = drawn("a    -> b, c\nb -> none of these\nno arrow\n");
    let of = |from: &str, to: &[&str]| {
        let to = to.iter().map(|to| (*to).to_owned()).collect();
        (from.to_owned(), to)
    };
    assert_eq!(arrows, [of("a", &["b", "c"]), of("b", &[])]);
}
