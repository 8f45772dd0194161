//! Nothing is unused: every example, every guest and every contract is in use.

use crate::tree::{File, files, folders, report, root};

/// Returns the sources of the tests and benches that run plugins.
fn tests() -> Vec<File> {
    let places = ["tests/e2e", "host/plugin/tests", "host/plugin/benches"];
    let is_test = |file: &File| places.iter().any(|place| file.under(place));
    files()
        .into_iter()
        .filter(|file| file.is("rs") && is_test(file))
        .collect()
}

fn unnamed(names: impl IntoIterator<Item = String>) -> Vec<String> {
    let tests = tests();
    let named = |name: &str| {
        let quoted = format!("\"{name}\"");
        tests.iter().any(|test| test.text.contains(&quoted))
    };
    names.into_iter().filter(|name| !named(name)).collect()
}

/// Each folder in `examples` is run by a test.
#[test]
fn examples_are_run() {
    report("examples that no test names", unnamed(folders("examples")));
}

/// Each guest in `tests/guests` is run by a test.
#[test]
fn guests_are_run() {
    let guests = files()
        .into_iter()
        .filter(|file| file.under("tests/guests/examples"));
    let names: Vec<String> = guests
        .filter_map(|file| Some(file.path.file_stem()?.to_string_lossy().into_owned()))
        .collect();
    assert!(names.len() >= 12, "only {} guests", names.len());
    report("guests that no test names", unnamed(names));
}

/// Each released contract has a module of the host that implements it.
#[test]
fn contracts_are_spoken() {
    let missing = folders("wit").into_iter().filter(|version| {
        let module = format!("host/plugin/src/abi/{}.rs", version.replace('.', "_"));
        !root().join(module).is_file()
    });
    report("contracts without a module", missing);
}

/// Each example is complete: its crate, a config that runs it, and a page that shows before and
/// after.
#[test]
fn examples_are_whole() {
    let missing = folders("examples").into_iter().flat_map(|example| {
        ["Cargo.toml", "src/lib.rs", "spandrel.yaml", "README.md"]
            .map(|file| format!("examples/{example}/{file}"))
            .into_iter()
            .filter(|path| !root().join(path).is_file())
    });
    report("files that an example lacks", missing);
}
