//! Builds the programs that the tests run: the collector and the plugins. Cargo's own output is
//! passed on.
//!
//! A fresh clone needs nothing but cargo: the WebAssembly target is added if it is missing. Each
//! build happens once in a process; cargo skips it if nothing has changed.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use anyhow::{Context as _, Result, anyhow, ensure};
use sha2::{Digest as _, Sha256};

use crate::cache;

/// The target that plugins are compiled for.
pub const WASM_TARGET: &str = "wasm32-wasip2";

/// The example plugins, by package name.
pub const PLUGINS: [&str; 4] = [
    "drop-health-checks",
    "drop-duplicates",
    "tag-by-service",
    "keep-interesting-traces",
];

/// Returns the root of the workspace.
pub fn root() -> PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR")
        .unwrap_or_else(|| OsString::from(env!("CARGO_MANIFEST_DIR")));
    let package = PathBuf::from(package);
    let workspace = package
        .ancestors()
        .find(|folder| folder.join("Cargo.lock").is_file());
    workspace.unwrap_or(&package).to_path_buf()
}

/// Returns the folder that cargo builds into.
///
/// # Errors
/// Returns an error if cargo does not report it.
pub fn target_dir() -> Result<PathBuf> {
    static DIR: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    once(&DIR, || {
        let output = cargo()
            .args(["metadata", "--format-version=1", "--no-deps"])
            .stderr(Stdio::inherit())
            .output()
            .context("cannot run cargo metadata")?;
        ensure!(output.status.success(), "cargo metadata failed");
        let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)?;
        let dir = metadata
            .get("target_directory")
            .and_then(serde_json::Value::as_str)
            .context("cargo metadata names no target_directory")?;
        Ok(PathBuf::from(dir))
    })
}

/// Makes sure that plugins can be compiled. Returns true if the target had to be added.
///
/// # Errors
/// Returns an error if the target is missing and cannot be added.
pub fn wasm_target() -> Result<bool> {
    let output = Command::new("rustc")
        .args(["--print", "target-libdir", "--target", WASM_TARGET])
        .current_dir(root())
        .output()
        .context("cannot run rustc")?;
    let libdir = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if output.status.success() && Path::new(&libdir).is_dir() {
        return Ok(false);
    }
    run(Command::new("rustup")
        .args(["target", "add", WASM_TARGET])
        .current_dir(root()))
    .with_context(|| format!("add the target by hand: rustup target add {WASM_TARGET}"))?;
    Ok(true)
}

/// Builds the collector in the profile of this code, and returns the path of its binary.
///
/// # Errors
/// Returns an error if it does not build.
pub fn collector() -> Result<PathBuf> {
    static BINARY: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    once(&BINARY, || {
        // The packages are selected as in the build that was made before, so that shared
        // dependencies get the same features and are not built again.
        let (selection, profile) = if cfg!(debug_assertions) {
            // `cargo test --workspace`.
            (["--workspace", "--bin", "spandrel"].as_slice(), "debug")
        } else {
            // `cargo demo`, `cargo peers` and the user's own `cargo build --release`.
            (["--release", "--bin", "spandrel"].as_slice(), "release")
        };
        let mut build = cargo();
        build.arg("build").args(selection);
        run(&mut build).context("the collector does not build")?;
        Ok(target_dir()?
            .join(profile)
            .join(format!("spandrel{}", std::env::consts::EXE_SUFFIX)))
    })
}

/// Runs `cargo build` with these arguments.
///
/// # Errors
/// Returns an error if it fails.
pub fn build(arguments: &[&str]) -> Result<()> {
    run(cargo().arg("build").args(arguments))
}

/// Builds the example plugins and returns the folder with their `.wasm` files.
///
/// # Errors
/// Returns an error if one does not build.
pub fn plugins() -> Result<PathBuf> {
    static FOLDER: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    once(&FOLDER, || {
        wasm_target()?;
        let mut build = cargo();
        build.args(["build", "--release", "--target", WASM_TARGET]);
        for plugin in PLUGINS {
            build.args(["--package", plugin]);
        }
        run(&mut build).context("the example plugins do not build")?;
        let folder = target_dir()?.join(WASM_TARGET).join("release");
        for plugin in PLUGINS {
            runnable(folder.join(file_name(plugin)))?;
        }
        Ok(folder)
    })
}

/// Returns the `.wasm` file of one example plugin, by package name.
///
/// # Errors
/// Returns an error if the plugins do not build.
pub fn plugin(name: &str) -> Result<PathBuf> {
    runnable(plugins()?.join(file_name(name)))
}

fn file_name(plugin: &str) -> String {
    format!("{}.wasm", plugin.replace('-', "_"))
}

/// Builds the misbehaving guests and returns the `.wasm` file of one, by the name of its example.
///
/// # Errors
/// Returns an error if they do not build, or if there is none of this name.
pub fn guest(name: &str) -> Result<PathBuf> {
    static FOLDER: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let folder = once(&FOLDER, || {
        wasm_target()?;
        let mut build = cargo();
        build.args(["build", "--release", "--target", WASM_TARGET]);
        build.args(["--package", "spandrel-test-guests", "--features", "guests"]);
        build.arg("--examples");
        run(&mut build).context("the test guests do not build")?;
        Ok(target_dir()?
            .join(WASM_TARGET)
            .join("release")
            .join("examples"))
    })?;
    runnable(folder.join(format!("{name}.wasm")))
}

/// Builds one of the test guests that use the SDK, and returns its `.wasm` file.
///
/// # Errors
/// Returns an error if it does not build.
pub fn sdk_guest(name: &str) -> Result<PathBuf> {
    example(name, "job")
}

/// Builds one of the misbehaving guests and no other, and returns its `.wasm` file.
///
/// # Errors
/// Returns an error if it does not build.
pub fn one_guest(name: &str) -> Result<PathBuf> {
    example(name, "guests")
}

fn example(name: &str, feature: &str) -> Result<PathBuf> {
    wasm_target()?;
    let package = ["--package", "spandrel-test-guests", "--features", feature];
    let mut build = cargo();
    build.args(["build", "--release", "--target", WASM_TARGET]);
    run(build.args(package).args(["--example", name]))?;
    let folder = target_dir()?.join(WASM_TARGET).join("release/examples");
    runnable(folder.join(format!("{name}.wasm")))
}

/// Checks that a plugin was built, and announces it for collectors to run.
fn runnable(path: PathBuf) -> Result<PathBuf> {
    ensure!(path.is_file(), "{} was not built", path.display());
    cache::announce(&path)?;
    Ok(path)
}

/// Returns the hash that `sha256sum` prints for these bytes.
pub fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// Makes a cargo command at the root of the workspace. It is the cargo that runs this process, if
/// there is one.
///
/// The variables that cargo set for this process's own package are removed: build scripts depend on
/// them, and would run again because the values changed.
fn cargo() -> Command {
    let mut command =
        Command::new(std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")));
    command.current_dir(root());
    for (name, _) in std::env::vars_os() {
        let told = name.to_string_lossy();
        let about_us = [
            "CARGO_PKG_",
            "CARGO_MANIFEST_",
            "CARGO_BIN_",
            "CARGO_CRATE_",
        ];
        if about_us.iter().any(|start| told.starts_with(start)) {
            command.env_remove(&name);
        }
    }
    for name in ["CARGO_PRIMARY_PACKAGE", "CARGO_TARGET_TMPDIR", "OUT_DIR"] {
        command.env_remove(name);
    }
    command
}

/// Runs a command. Its stderr is passed on, and its stdout is discarded.
fn run(command: &mut Command) -> Result<()> {
    let status = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::inherit())
        .status()
        .with_context(|| format!("cannot run {command:?}"))?;
    ensure!(status.success(), "{command:?}: {status}");
    Ok(())
}

/// Runs `make` once in this process. An error is stored too, so that not each test repeats a
/// failing build.
fn once(
    cell: &OnceLock<Result<PathBuf, String>>,
    make: impl FnOnce() -> Result<PathBuf>,
) -> Result<PathBuf> {
    cell.get_or_init(|| make().map_err(|error| format!("{error:#}")))
        .clone()
        .map_err(|message| anyhow!(message))
}
