//! Checks that cargo accepts the package and the workspace that the page shows.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Returns the TOML blocks of the page, in order, with the path of the SDK in this repository.
fn manifests() -> Vec<String> {
    let page = include_str!("../../README.md");
    let blocks = page.split("```toml\n").skip(1);
    let blocks = blocks.filter_map(|block| Some(block.split_once("```\n")?.0));
    let sdk = format!("path = {:?}", env!("CARGO_MANIFEST_DIR"));
    blocks
        .map(|block| block.replace("path = \"../spandrel/guest\"", &sdk))
        .collect()
}

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// Returns cargo's metadata of a manifest, with all dependencies. Cargo must print no warning.
fn metadata(folder: &Path) -> Value {
    let lock = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.lock");
    fs::copy(lock, folder.join("Cargo.lock")).unwrap();
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--offline", "--format-version", "1"])
        .current_dir(folder)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && !said.contains("warning"),
        "{said}"
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Cargo accepts a single plugin and a workspace of two, as they stand on the page. The SDK is a
/// dependency of each, and both build into one folder.
#[test]
fn cargo_takes_what_the_page_shows() {
    let temporary = tempfile::tempdir().unwrap();
    // Outside of this repository: otherwise cargo would find its workspace.
    let folder = fs::canonicalize(temporary.path()).unwrap();
    let [first, workspace, second] = manifests().try_into().unwrap();
    let alone = folder.join("alone");
    write(&alone.join("Cargo.toml"), &first);
    write(&alone.join("src/lib.rs"), "");
    let plugins = folder.join("plugins");
    write(&plugins.join("Cargo.toml"), &workspace);
    for name in ["redact", "team-tags"] {
        let manifest = second.replace("\"redact\"", &format!("{name:?}"));
        write(&plugins.join(name).join("Cargo.toml"), &manifest);
        write(&plugins.join(name).join("src/lib.rs"), "");
    }
    let of = |folder: &Path| {
        let metadata = metadata(folder);
        let packages = metadata["packages"].as_array().unwrap().iter();
        let uses_sdk = packages.filter(|package| {
            let mut dependencies = package["dependencies"].as_array().unwrap().iter();
            dependencies.any(|dependency| dependency["name"] == "spandrel-guest")
        });
        let mut names: Vec<_> = uses_sdk
            .map(|package| package["name"].to_string())
            .collect();
        names.sort();
        let target = metadata["target_directory"].as_str().unwrap().to_owned();
        (names.join(" "), target)
    };
    let (alone_names, _) = of(&alone);
    assert_eq!(alone_names, "\"team-tags\"");
    let (names, target) = of(&plugins);
    assert_eq!(names, "\"redact\" \"team-tags\"");
    let target = Path::new(&target).strip_prefix(&plugins);
    assert_eq!(target.unwrap(), Path::new("target"));
}
