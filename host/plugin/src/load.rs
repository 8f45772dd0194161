//! What to load, and its first half: read, identified, compiled.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use tokio::time::Instant;
use wasmtime::component::Component;

use crate::artifact::{Artifact, Digest};
use crate::cache::Code;
use crate::compile::{CompileLimits, NotCompiled};
use crate::engine::Engine;
use crate::error::LoadError;
use crate::limits::Limits;
use crate::metrics::Metrics;

/// Where a plugin's bytes are.
#[derive(Clone, Debug)]
pub enum Module<'a> {
    /// In a file.
    File(&'a Path),
    /// In memory: an upload.
    Bytes {
        /// What messages call it.
        name: &'a str,
        /// The plugin.
        bytes: Bytes,
    },
}

impl<'a> From<&'a Path> for Module<'a> {
    fn from(path: &'a Path) -> Self {
        Self::File(path)
    }
}

impl<'a> From<&'a PathBuf> for Module<'a> {
    fn from(path: &'a PathBuf) -> Self {
        Self::File(path)
    }
}

impl Module<'_> {
    /// What messages call it: the path, or the name of the upload.
    pub fn name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Bytes { name, .. } => (*name).to_owned(),
        }
    }

    /// How its bytes are got, on another thread.
    fn reader(&self) -> impl FnOnce() -> Result<Artifact, LoadError> + Send + 'static {
        let name = self.name();
        let source = match self {
            Self::File(path) => Err(path.to_path_buf()),
            Self::Bytes { bytes, .. } => Ok(bytes.clone()),
        };
        move || match source {
            Ok(bytes) => Artifact::from_bytes(&name, bytes),
            Err(path) => Artifact::read(&path),
        }
    }
}

/// What to load, and for which stage.
#[derive(Clone, Debug)]
pub struct Load<'a> {
    /// The stage's name, for logs.
    pub stage: &'a str,
    /// The generation's number, from 1.
    pub number: u64,
    /// Where the plugin's bytes are.
    pub module: Module<'a>,
    /// The sha256 that the file must have, when the config pins one.
    pub pinned: Option<Digest>,
    /// The stage's `config`, as JSON.
    pub config: &'a str,
    /// What each instance may use.
    pub limits: Limits,
    /// How it may be compiled.
    pub compile: CompileLimits,
    /// Where the plugin's own metrics go; the same for each generation of a stage.
    pub metrics: Arc<Metrics>,
}

/// A plugin's bytes and their code.
pub(crate) struct Loaded {
    pub(crate) component: Component,
    pub(crate) artifact: Artifact,
    pub(crate) code: Code,
}

/// Reads and compiles. In this order, so that each problem is found before the work that comes
/// after it: the size before the content, the pinned digest before the compiler.
pub(crate) async fn compile(engine: &Engine, load: &Load<'_>) -> Result<Loaded, LoadError> {
    let module = load.module.name();
    let pinned = load.pinned;
    let read = load.module.reader();
    let shared = engine.clone();
    let log = tracing::dispatcher::get_default(Clone::clone);
    let work = move || {
        // What the cache says belongs in the log of the caller.
        let _log = tracing::dispatcher::set_default(&log);
        let artifact = read()?;
        check_pinned(&artifact, pinned)?;
        compile_here(&shared, artifact)
    };
    let done = engine.compiler().run(load.compile, work).await;
    done.unwrap_or_else(|problem| Err(not_compiled(problem, module, load.compile)))
}

fn check_pinned(artifact: &Artifact, pinned: Option<Digest>) -> Result<(), LoadError> {
    match pinned.filter(|pinned| *pinned != artifact.digest()) {
        None => Ok(()),
        Some(pinned) => Err(LoadError::Digest {
            module: artifact.name().to_owned(),
            pinned: pinned.to_string(),
            found: artifact.digest().to_string(),
        }),
    }
}

fn compile_here(engine: &Engine, artifact: Artifact) -> Result<Loaded, LoadError> {
    let started = Instant::now();
    let wasmtime = engine.wasmtime();
    let compile = || Component::from_binary(wasmtime, artifact.bytes());
    let compiled = match engine.cache() {
        Some(cache) => cache.component(wasmtime, &artifact, compile),
        None => compile().map(|component| (component, false)),
    };
    let (component, is_cached) = compiled.map_err(|error| LoadError::Compile {
        module: artifact.name().to_owned(),
        source: error.into(),
    })?;
    let code = if is_cached {
        Code::Cached
    } else {
        Code::Compiled {
            elapsed: started.elapsed(),
        }
    };
    Ok(Loaded {
        component,
        artifact,
        code,
    })
}

fn not_compiled(problem: NotCompiled, module: String, limits: CompileLimits) -> LoadError {
    match problem {
        NotCompiled::Busy => LoadError::CompilerBusy { module },
        NotCompiled::Late => LoadError::CompileTimeout {
            module,
            limit: limits.time,
        },
        NotCompiled::Panicked => LoadError::Compile {
            module,
            source: "the compiler panicked".into(),
        },
        NotCompiled::Threads(source) => LoadError::CompileThreads {
            module,
            source: source.into(),
        },
    }
}
