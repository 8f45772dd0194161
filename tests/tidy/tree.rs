//! The files of the repository.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// One text file, with its path from the root.
pub(crate) struct File {
    pub(crate) path: PathBuf,
    pub(crate) text: String,
}

impl File {
    pub(crate) fn is(&self, extension: &str) -> bool {
        self.path.extension() == Some(OsStr::new(extension))
    }

    pub(crate) fn under(&self, folder: &str) -> bool {
        self.path.starts_with(folder)
    }
}

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the package is in the workspace")
        .to_path_buf()
}

/// Returns the names of the folders in `folder`.
pub(crate) fn folders(folder: &str) -> Vec<String> {
    let entries = root().join(folder).read_dir().expect("a folder");
    let mut names: Vec<String> = entries
        .map(|entry| entry.expect("an entry"))
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// The file that a program writes, and a test holds: `cargo run -p spandrel-bindings`.
const GENERATED: &str = "guest/src/bindings.rs";

/// Returns all text files of the repository, except what programs write.
pub(crate) fn files() -> Vec<File> {
    let root = root();
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in folder.read_dir().expect("a folder") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let hidden = name.starts_with('.') && ![".ci", ".cargo"].contains(&&*name);
            if hidden || name == "target" || path.is_symlink() {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(text) = std::fs::read_to_string(&path) {
                let path = path.strip_prefix(&root).expect("inside").to_path_buf();
                if path != Path::new(GENERATED) {
                    found.push(File { path, text });
                }
            }
        }
    }
    assert!(found.len() > 50, "the tree was not found");
    found
}

/// Panics with all findings at once, if there are any.
pub(crate) fn report(rule: &str, findings: impl IntoIterator<Item = String>) {
    let findings: Vec<String> = findings.into_iter().collect();
    assert!(findings.is_empty(), "{rule}:\n  {}", findings.join("\n  "));
}
