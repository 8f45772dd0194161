//! What a collector is started with.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use tempfile::TempDir;

/// A config in a folder of its own, with arguments and environment. Starting it twice gives two
/// collectors in the same folder, as a restart does.
#[derive(Clone, Debug)]
pub struct Setup {
    pub(super) folder: Arc<TempDir>,
    arguments: Vec<OsString>,
    variables: Vec<(OsString, OsString)>,
}

impl Setup {
    /// Runs this config.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn new(config: &str) -> Result<Self> {
        let setup = Self::bare()?;
        let file = setup.folder().join("spandrel.yaml");
        std::fs::write(&file, config)?;
        Ok(setup.arg("run").arg("--config").arg(file))
    }

    /// Runs without any argument.
    ///
    /// # Errors
    /// When no folder can be made.
    pub fn bare() -> Result<Self> {
        let folder = TempDir::with_prefix("spandrel-").context("cannot make a folder")?;
        let cache = crate::artifacts::target_dir()?.join("spandrel-test-cache");
        Ok(Self {
            folder: Arc::new(folder),
            arguments: Vec::new(),
            variables: Vec::new(),
        }
        .env("XDG_CACHE_HOME", cache))
    }

    /// One more argument.
    #[must_use]
    pub fn arg(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Overrides one value of the config (`a::b=c`).
    #[must_use]
    pub fn set(self, path: &str, value: &str) -> Self {
        self.arg("--set").arg(format!("{path}={value}"))
    }

    /// Serves the admin API on a socket in its folder.
    #[must_use]
    pub fn admin(self) -> Self {
        let endpoint = format!("unix:{}", self.file("admin.sock").display());
        self.set("extensions::admin::endpoint", &endpoint)
            .set("service::extensions", "[health_check, admin]")
    }

    /// One more variable of the environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.variables.push((name.into(), value.into()));
        self
    }

    /// The folder that it runs in.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A file in that folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }

    pub(super) fn arguments(&self) -> &[OsString] {
        &self.arguments
    }

    pub(super) fn variables(&self) -> impl Iterator<Item = (&OsString, &OsString)> {
        self.variables.iter().map(|(name, value)| (name, value))
    }
}
