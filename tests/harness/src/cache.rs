//! Caches compiled plugins, so that the collectors of tests need not compile them again and again.
//!
//! Compiling takes half a second for each plugin. A cache that all collectors write to would carry
//! the effects of one test into other tests and into the next run. So there are two places:
//!
//! - the store, which stays from run to run: only this module compiles plugins into it, and only
//!   those that the harness has built;
//! - a [`Cache`] for each [`Setup`](crate::collector::Setup), which starts with links to the files
//!   in the store and is removed with the setup.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Weak};
use std::time::UNIX_EPOCH;

use anyhow::{Context as _, Result};
use parking_lot::{Mutex, MutexGuard};
use tempfile::TempDir;

use crate::artifacts::{self, sha256};
use crate::config::Config;

/// The place of a collector's compiled code, relative to `XDG_CACHE_HOME`.
const CODE: &str = "spandrel/compiled";
/// The extension of a complete code file. The collector writes under other names and renames.
const EXTENSION: &str = "compiled";

/// The plugins that tests of this process run, each with its place in the store once it is
/// compiled, and the existing caches.
#[derive(Debug, Default)]
struct Known {
    modules: BTreeMap<PathBuf, Option<PathBuf>>,
    caches: Vec<Weak<Cache>>,
}

static KNOWN: Mutex<Option<Known>> = Mutex::new(None);

fn known() -> MutexGuard<'static, Option<Known>> {
    KNOWN.lock()
}

/// The cache of one setup.
#[derive(Debug)]
pub(crate) struct Cache {
    folder: TempDir,
}

impl Cache {
    /// Makes a cache with every plugin that was announced so far. Later ones are added.
    pub(crate) fn new() -> Result<Arc<Self>> {
        let parent = artifacts::target_dir()?.join("spandrel-test-caches");
        fs::create_dir_all(&parent)?;
        let folder = TempDir::with_prefix_in("cache-", &parent).context("cannot make a cache")?;
        fs::create_dir_all(folder.path().join(CODE))?;
        let cache = Arc::new(Self { folder });
        let mut known = known();
        let Known { modules, caches } = known.get_or_insert_default();
        for (module, place) in modules.iter_mut() {
            if place.is_none() {
                *place = Some(compile(module)?);
            }
            if let Some(place) = place {
                cache.link(place)?;
            }
        }
        caches.retain(|cache| cache.strong_count() > 0);
        caches.push(Arc::downgrade(&cache));
        Ok(cache)
    }

    /// The value of `XDG_CACHE_HOME`.
    pub(crate) fn home(&self) -> &Path {
        self.folder.path()
    }

    /// Links the files of one plugin from the store.
    fn link(&self, place: &Path) -> Result<()> {
        for file in complete(place)? {
            let name = file.file_name().context("a file without a name")?;
            let link = self.folder.path().join(CODE).join(name);
            // Another test may have announced the same plugin.
            if !link.exists() {
                fs::hard_link(&file, link)?;
            }
        }
        Ok(())
    }
}

/// Allows collectors of this process to run this newly built plugin.
///
/// It is compiled only if there is a collector to run it, so a test without collectors pays
/// nothing.
///
/// # Errors
/// Returns an error if the collector does not build, or if the store cannot be written.
pub(crate) fn announce(module: &Path) -> Result<()> {
    let mut known = known();
    let Known { modules, caches } = known.get_or_insert_default();
    if modules.contains_key(module) {
        return Ok(());
    }
    let caches: Vec<Arc<Cache>> = caches.iter().filter_map(Weak::upgrade).collect();
    if caches.is_empty() {
        modules.insert(module.to_owned(), None);
        return Ok(());
    }
    let place = compile(module)?;
    for cache in caches {
        cache.link(&place)?;
    }
    modules.insert(module.to_owned(), Some(place));
    Ok(())
}

/// Makes the collector compile a plugin into the store, unless it is there, and returns its place.
fn compile(module: &Path) -> Result<PathBuf> {
    let collector = artifacts::collector()?;
    let bytes = fs::read(module).with_context(|| module.display().to_string())?;
    let store = artifacts::target_dir()?.join("spandrel-test-code");
    let place = store.join(sha256(&bytes));
    // Another build of the collector may need other code.
    let built = fs::metadata(&collector)?
        .modified()?
        .duration_since(UNIX_EPOCH)?;
    let stamp = place.join(format!("for-{}", built.as_nanos()));
    if stamp.exists() {
        return Ok(place);
    }
    fs::create_dir_all(place.join(CODE))?;
    let config = Config::new("http://127.0.0.1:1").stage("stage", module, "");
    // The exit code is ignored, because the tests check whether the plugin loads. The files show
    // whether it was compiled.
    Command::new(collector)
        .args(["validate", "--config"])
        .arg(format!("yaml:{}", config.yaml()))
        .env("XDG_CACHE_HOME", &place)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .context("cannot run the collector")?;
    if !complete(&place)?.is_empty() {
        fs::write(stamp, "")?;
    }
    Ok(place)
}

/// Returns the complete code files below a place.
fn complete(place: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(place.join(CODE))? {
        let path = entry?.path();
        if path.extension().is_some_and(|found| found == EXTENSION) {
            files.push(path);
        }
    }
    Ok(files)
}
