//! The config, arguments and environment that a collector is started with.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use tempfile::TempDir;
use tokio::process::Command;

use crate::cache::Cache;

/// A config in a folder of its own, with arguments and environment. Starting it twice gives two
/// collectors in the same folder, as a restart does.
#[derive(Clone, Debug)]
pub struct Setup {
    pub(super) folder: Arc<TempDir>,
    arguments: Vec<OsString>,
    variables: Vec<(OsString, OsString)>,
    /// The limit of the process's address space, in KiB.
    address_space: Option<u64>,
    /// The cache, which is removed with the setup and the collectors that it started.
    pub(super) cache: Arc<Cache>,
}

impl Setup {
    /// Makes a setup that runs this config.
    ///
    /// # Errors
    /// Returns an error if the config cannot be written.
    pub fn new(config: &str) -> Result<Self> {
        let setup = Self::bare()?;
        let file = setup.folder().join("spandrel.yaml");
        std::fs::write(&file, config)?;
        Ok(setup.arg("run").arg("--config").arg(file))
    }

    /// Makes a setup without any argument.
    ///
    /// # Errors
    /// Returns an error if no folder can be made.
    pub fn bare() -> Result<Self> {
        let folder = TempDir::with_prefix("spandrel-").context("cannot make a folder")?;
        let cache = Cache::new()?;
        let home = cache.home().to_owned();
        Ok(Self {
            folder: Arc::new(folder),
            arguments: Vec::new(),
            variables: Vec::new(),
            address_space: None,
            cache,
        }
        .env("XDG_CACHE_HOME", home))
    }

    /// Adds one argument.
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

    /// Limits its address space to this many GiB.
    #[must_use]
    pub fn address_space(mut self, gib: u64) -> Self {
        self.address_space = Some(gib << 20);
        self
    }

    /// Adds one environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.variables.push((name.into(), value.into()));
        self
    }

    /// Returns the folder that it runs in.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Returns a file in that folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }

    /// Returns the command that starts this program.
    pub(super) fn command(&self, program: PathBuf) -> Command {
        match self.address_space {
            None => Command::new(program),
            Some(kib) => {
                let mut shell = Command::new("sh");
                let script = format!("ulimit -v {kib} && exec \"$0\" \"$@\"");
                shell.arg("-c").arg(script).arg(program);
                shell
            }
        }
    }

    pub(super) fn arguments(&self) -> &[OsString] {
        &self.arguments
    }

    /// Returns its environment variables, for other commands of the same program.
    pub fn environment(&self) -> impl Iterator<Item = (&OsString, &OsString)> {
        self.variables.iter().map(|(name, value)| (name, value))
    }
}
