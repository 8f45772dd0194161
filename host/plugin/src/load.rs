//! The first half of loading a plugin: it is read, identified and compiled.

mod excess;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use tokio::time::Instant;
use wasmtime::component::Component;

use crate::artifact::{Artifact, Digest};
use crate::cache::Code;
use crate::cache::trusted;
use crate::compile::child::ChildError;
use crate::compile::{self, CompileLimits, NotCompiled, Turn};
use crate::engine::Engine;
use crate::error::LoadError;
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::signature::Signing;

/// The place of a plugin's bytes.
#[derive(Clone, Debug)]
pub enum Module<'a> {
    /// In a file.
    File(&'a Path),
    /// In memory: an upload.
    Bytes {
        /// The upload's name in messages.
        name: &'a str,
        /// The plugin's bytes.
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
    /// Returns the name for messages: the path, or the name of the upload.
    pub fn name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Bytes { name, .. } => (*name).to_owned(),
        }
    }

    /// Returns the work that reads and checks the bytes, for another thread.
    fn reader(
        &self,
        pinned: Option<Digest>,
        signing: Option<Signing>,
    ) -> impl FnOnce() -> Result<Artifact, LoadError> + Send + 'static {
        let name = self.name();
        let source = match self {
            Self::File(path) => Err(path.to_path_buf()),
            Self::Bytes { bytes, .. } => Ok(bytes.clone()),
        };
        move || {
            let (artifact, path) = match source {
                Ok(bytes) => (Artifact::from_bytes(&name, bytes)?, None),
                Err(path) => (Artifact::read(&path)?, Some(path)),
            };
            check_pinned(&artifact, pinned)?;
            check_signed(&artifact, path.as_deref(), signing.as_ref())?;
            Ok(artifact)
        }
    }
}

/// The request to load a plugin for a stage.
#[derive(Clone, Debug)]
pub struct Load<'a> {
    /// The stage's name, for logs.
    pub stage: &'a str,
    /// The generation's number, from 1.
    pub number: u64,
    /// The place of the plugin's bytes.
    pub module: Module<'a>,
    /// The sha256 that the file must have, if the config pins one.
    pub pinned: Option<Digest>,
    /// The signature that it must have, if it must have one.
    pub signing: Option<Signing>,
    /// The stage's `config`, as JSON.
    pub config: &'a str,
    /// The limits of each instance.
    pub limits: Limits,
    /// The limits on compiling.
    pub compile: CompileLimits,
    /// The plugin's own metrics; the same for each generation of a stage.
    pub metrics: Arc<Metrics>,
}

/// A plugin's bytes and their code.
pub(crate) struct Loaded {
    pub(crate) component: Component,
    pub(crate) artifact: Artifact,
    pub(crate) code: Code,
}

/// Reads and compiles. The order is such that each problem is found before the work that comes
/// after it: the size before the content, the pinned digest and the signature before the compiler.
pub(crate) async fn compile(engine: &Engine, load: &Load<'_>) -> Result<Loaded, LoadError> {
    let work = Work {
        engine,
        module: load.module.name(),
        limits: load.compile,
        turn: engine
            .compiler()
            .turn(load.compile)
            .await
            .map_err(|problem| not_compiled(problem, load.module.name(), load.compile))?,
    };
    let started = Instant::now();
    let read = load.module.reader(load.pinned, load.signing.clone());
    let is_here = engine.program().is_none();
    let found = work.run(move |engine| {
        let artifact = read()?;
        let cached = engine.cache();
        match cached.and_then(|cache| cache.find(engine.wasmtime(), &artifact)) {
            Some(component) => Ok((artifact, Some((component, true)))),
            None if is_here => {
                let component = compile_here(engine, &artifact)?;
                Ok((artifact, Some((component, false))))
            }
            None => Ok((artifact, None)),
        }
    });
    let (artifact, found) = found.await?;
    let (component, is_cached) = match found {
        Some(found) => found,
        None => (compile_in_child(&work, &artifact).await?, false),
    };
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

/// One plugin's turn with the compiler.
struct Work<'a> {
    engine: &'a Engine,
    module: String,
    limits: CompileLimits,
    turn: Arc<Turn>,
}

impl Work<'_> {
    /// Runs a part of the work on threads made for it.
    async fn run<T: Send + 'static>(
        &self,
        part: impl FnOnce(&Engine) -> Result<T, LoadError> + Send + 'static,
    ) -> Result<T, LoadError> {
        let engine = self.engine.clone();
        let log = tracing::dispatcher::get_default(Clone::clone);
        let part = move || {
            // The cache's messages belong in the log of the caller.
            let _log = tracing::dispatcher::set_default(&log);
            part(&engine)
        };
        let done = compile::run(&self.turn, self.limits.background, part).await;
        done.unwrap_or_else(|problem| Err(not_compiled(problem, self.module.clone(), self.limits)))
    }
}

fn check_signed(
    artifact: &Artifact,
    path: Option<&Path>,
    signing: Option<&Signing>,
) -> Result<(), LoadError> {
    let Some(signing) = signing else {
        return Ok(());
    };
    let checked = signing.check(path, artifact.bytes());
    let key = checked.map_err(|source| LoadError::Signature {
        module: artifact.name().to_owned(),
        source,
    })?;
    tracing::info!(module = artifact.name(), key = %key, "plugin signature is good");
    Ok(())
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

fn compile_here(engine: &Engine, artifact: &Artifact) -> Result<Component, LoadError> {
    let compiled = engine.wasmtime().precompile_component(artifact.bytes());
    let code = compiled.map_err(|error| bad_component(artifact, error.into()))?;
    take_in(engine, artifact, &code)
}

/// Takes code that was compiled a moment ago. If this fails, the code is not the problem: the
/// component is more than one instance may be.
fn take_in(engine: &Engine, artifact: &Artifact, code: &[u8]) -> Result<Component, LoadError> {
    let taken = trusted::deserialize(engine.wasmtime(), code);
    let component = taken.map_err(|error| excess::of(artifact.name(), &error))?;
    if let Some(cache) = engine.cache() {
        cache.keep(artifact, code);
    }
    Ok(component)
}

async fn compile_in_child(work: &Work<'_>, artifact: &Artifact) -> Result<Component, LoadError> {
    let Some(program) = work.engine.program() else {
        return work
            .run({
                let artifact = artifact.clone();
                move |engine| compile_here(engine, &artifact)
            })
            .await;
    };
    let compiled = program.compile(artifact.bytes(), work.limits, work.turn.due());
    let code = compiled.await.map_err(|error| match error {
        ChildError::Refused(words) => bad_component(artifact, words.into()),
        source => LoadError::Child {
            module: artifact.name().to_owned(),
            source,
        },
    })?;
    let artifact = artifact.clone();
    work.run(move |engine| take_in(engine, &artifact, &code))
        .await
}

fn bad_component(
    artifact: &Artifact,
    source: Box<dyn std::error::Error + Send + Sync>,
) -> LoadError {
    LoadError::Compile {
        module: artifact.name().to_owned(),
        source,
    }
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
