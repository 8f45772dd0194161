//! The first half of loading a plugin: it is read, identified and compiled.

mod excess;

use std::sync::Arc;

use spandrel_supply::{
    Artifact, ArtifactSource, CompileLimits, Digest, InstanceLimits, SignaturePolicy,
};
use tokio::time::Instant;
use wasmtime::component::Component;

use crate::cache::{CodeOrigin, trusted};
use crate::compile::child::ChildError;
use crate::compile::{self, CompileFailure, CompilePermit};
use crate::engine::Engine;
use crate::error::LoadError;
use crate::metrics::Metrics;

/// The request to load a plugin for a stage.
#[derive(Clone, Debug)]
pub struct LoadRequest<'a> {
    /// The stage's name, for logs.
    pub stage: &'a str,
    /// The generation's number, from 1.
    pub number: u64,
    /// The place of the plugin's bytes.
    pub module: ArtifactSource<'a>,
    /// The sha256 that the file must have, if the config pins one.
    pub pinned: Option<Digest>,
    /// The signature that it must have, if it must have one.
    pub signature_policy: Option<SignaturePolicy>,
    /// The stage's `config`, as JSON.
    pub config: &'a str,
    /// The limits of each instance.
    pub limits: InstanceLimits,
    /// The limits on compiling.
    pub compile: CompileLimits,
    /// The plugin's own metrics; the same for each generation of a stage.
    pub metrics: Arc<Metrics>,
}

/// A plugin's bytes and their code.
pub(crate) struct CompiledPlugin {
    pub(crate) component: Component,
    pub(crate) artifact: Artifact,
    pub(crate) code: CodeOrigin,
}

/// Reads and compiles. The order is such that each problem is found before the work that comes
/// after it: the size before the content, the pinned digest and the signature before the compiler.
pub(crate) async fn compile(
    engine: &Engine,
    request: &LoadRequest<'_>,
) -> Result<CompiledPlugin, LoadError> {
    let job = CompileJob {
        engine,
        module: request.module.name(),
        limits: request.compile,
        permit: engine
            .compiler()
            .permit(request.compile)
            .await
            .map_err(|problem| load_error(problem, request.module.name(), request.compile))?,
    };
    let started = Instant::now();
    let read = request
        .module
        .reader(request.pinned, request.signature_policy.clone());
    let is_here = engine.program().is_none();
    let found = job.run(move |engine| {
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
        None => (compile_in_child(&job, &artifact).await?, false),
    };
    let code = if is_cached {
        CodeOrigin::Cached
    } else {
        CodeOrigin::Compiled {
            elapsed: started.elapsed(),
        }
    };
    Ok(CompiledPlugin {
        component,
        artifact,
        code,
    })
}

/// The work for one plugin, and its permit.
struct CompileJob<'a> {
    engine: &'a Engine,
    module: String,
    limits: CompileLimits,
    permit: Arc<CompilePermit>,
}

impl CompileJob<'_> {
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
        let done = compile::run(&self.permit, self.limits.background, part).await;
        done.unwrap_or_else(|problem| Err(load_error(problem, self.module.clone(), self.limits)))
    }
}

fn compile_here(engine: &Engine, artifact: &Artifact) -> Result<Component, LoadError> {
    let compiled = engine.wasmtime().precompile_component(artifact.bytes());
    let code = compiled.map_err(|error| bad_component(artifact, error.into()))?;
    load_code(engine, artifact, &code)
}

/// Takes code that was compiled a moment ago. If this fails, the code is not the problem: the
/// component is more than one instance may be.
fn load_code(engine: &Engine, artifact: &Artifact, code: &[u8]) -> Result<Component, LoadError> {
    let taken = trusted::deserialize(engine.wasmtime(), code);
    let component = taken.map_err(|error| excess::of(artifact.name(), &error))?;
    if let Some(cache) = engine.cache() {
        cache.keep(artifact, code);
    }
    Ok(component)
}

async fn compile_in_child(
    job: &CompileJob<'_>,
    artifact: &Artifact,
) -> Result<Component, LoadError> {
    let Some(program) = job.engine.program() else {
        return job
            .run({
                let artifact = artifact.clone();
                move |engine| compile_here(engine, &artifact)
            })
            .await;
    };
    let compiled = program.compile(artifact.bytes(), job.limits, job.permit.due());
    let code = compiled.await.map_err(|error| match error {
        ChildError::Refused(words) => bad_component(artifact, words.into()),
        source => LoadError::Child {
            module: artifact.name().to_owned(),
            source,
        },
    })?;
    let artifact = artifact.clone();
    job.run(move |engine| load_code(engine, &artifact, &code))
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

fn load_error(problem: CompileFailure, module: String, limits: CompileLimits) -> LoadError {
    match problem {
        CompileFailure::Busy => LoadError::CompilerBusy { module },
        CompileFailure::Late => LoadError::CompileTimeout {
            module,
            limit: limits.time,
        },
        CompileFailure::Panicked => LoadError::Compile {
            module,
            source: "the compiler panicked".into(),
        },
        CompileFailure::Threads(source) => LoadError::CompileThreads {
            module,
            source: source.into(),
        },
    }
}
