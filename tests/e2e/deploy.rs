//! The folder `deploy`: the image's root, the manifests and values for Kubernetes, the unit for systemd,
//! and the word that the collector has with the service manager.
//!
//! Needs python3, and of Debian the packages systemd, logrotate and binutils, and the right to make a
//! mount namespace. A test that lacks something says so and passes; with `CI=true` it fails.

mod documents;
mod manifests;
mod root;
mod rotation;
mod supervisor;
mod unit;

use std::path::PathBuf;
use std::process::Command;

/// Returns true if a program can be run here.
fn has(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output();
    found.is_ok_and(|output| output.status.success())
}

/// Returns a file of `deploy`.
fn file(name: &str) -> PathBuf {
    spandrel_tests::artifacts::root().join("deploy").join(name)
}
