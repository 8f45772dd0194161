//! Builds components for tests with cargo, once for each test binary.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

const TARGET: &str = "wasm32-wasip2";

/// Returns the component of one guest of `tests/guests`.
pub(crate) fn guest(name: &str) -> &'static Path {
    static GUESTS: OnceLock<BTreeMap<String, PathBuf>> = OnceLock::new();
    let guests = GUESTS.get_or_init(|| {
        components(&[
            "--package",
            "spandrel-test-guests",
            "--features",
            "guests",
            "--examples",
        ])
    });
    let guest = guests.get(name);
    guest.unwrap_or_else(|| panic!("no guest `{name}` in tests/guests"))
}

/// Builds the packages that `selection` (arguments of `cargo build`) names, and returns every
/// component by its name. Adds the target to the toolchain if it is missing; waits for other builds
/// in the same target directory.
pub(crate) fn components(selection: &[&str]) -> BTreeMap<String, PathBuf> {
    add_target();
    let output = cargo()
        .args(["build", "--release", "--target", TARGET])
        .arg("--message-format=json-render-diagnostics")
        .args(selection)
        .stderr(Stdio::inherit())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "cargo build {selection:?} failed");
    let messages = String::from_utf8(output.stdout).expect("cargo prints UTF-8");
    messages.lines().filter_map(component).collect()
}

/// Returns the component that one line of cargo's messages names.
fn component(message: &str) -> Option<(String, PathBuf)> {
    let message: serde_json::Value = serde_json::from_str(message).expect("cargo prints JSON");
    let files = message.get("filenames")?.as_array()?;
    let mut files = files.iter().filter_map(|file| file.as_str());
    let file = files.find(|file| file.ends_with(".wasm"))?;
    let name = message.get("target")?.get("name")?.as_str()?;
    Some((name.to_owned(), PathBuf::from(file)))
}

fn add_target() {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let libraries = Command::new(rustc)
        .args(["--print", "target-libdir", "--target", TARGET])
        .output()
        .expect("rustc runs");
    let libraries = String::from_utf8(libraries.stdout).expect("rustc prints UTF-8");
    if Path::new(libraries.trim()).is_dir() {
        return;
    }
    let added = Command::new("rustup")
        .args(["target", "add", TARGET])
        .status();
    assert!(
        added.is_ok_and(|status| status.success()),
        "the target {TARGET} is missing: rustup target add {TARGET}"
    );
}

/// Returns cargo, in the workspace, without the variables in which an outer `cargo test` or `cargo
/// bench` describes its own package.
fn cargo() -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    let inner = std::env::vars_os().map(|(name, _)| name).filter(|name| {
        name.to_str()
            .is_some_and(|name| name.starts_with("CARGO_PKG_") || name == "CARGO_MANIFEST_DIR")
    });
    for name in inner {
        command.env_remove(name);
    }
    command.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    command
}
