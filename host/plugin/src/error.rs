//! The errors of loading a plugin.

use std::time::Duration;

use spandrel_pipeline::stage::Fault;
use spandrel_supply::ArtifactError;

use crate::compile::child::ChildError;

/// The reason why a plugin did not load: the problem, the place, and the remedy. The running
/// generation, if there is one, stays.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The plugin's bytes cannot be had, or may not run.
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    /// The component was built for another version of the contract.
    #[error(
        "plugin `{module}` is built for spandrel:plugin@{found}, this collector knows {}: \
         build it with the SDK of one of these versions",
        known.join(", ")
    )]
    UnknownAbi {
        /// The plugin's file, or the name of an upload.
        module: String,
        /// The version that the component names.
        found: String,
        /// The versions that this collector knows.
        known: Vec<&'static str>,
    },
    /// The component imports interfaces that no plugin gets.
    #[error(
        "plugin `{module}` imports what this collector does not offer: {}. Plugins get \
         spandrel:plugin/host@0.1 and WASI 0.2 without files, sockets, environment or arguments",
        imports.join(", ")
    )]
    Imports {
        /// The plugin's file, or the name of an upload.
        module: String,
        /// All interfaces that are not offered.
        imports: Vec<String>,
    },
    /// The component lacks a part of the contract.
    #[error(
        "plugin `{module}` does not export {}: implement the `plugin` world, or use `export!` of the SDK",
        exports.join(", ")
    )]
    Exports {
        /// The plugin's file, or the name of an upload.
        module: String,
        /// All exports that are missing.
        exports: Vec<String>,
    },
    /// The component does not compile.
    #[error("cannot compile plugin `{module}`: the file is damaged or uses a feature that is off")]
    Compile {
        /// The plugin's file, or the name of an upload.
        module: String,
        /// The compiler's words.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The component compiles, but has more of one kind of part than an instance may have.
    #[error(
        "plugin `{module}` has {found} {what}, at most {most} are allowed: build it of fewer parts"
    )]
    TooMuch {
        /// The plugin's file, or the name of an upload.
        module: String,
        /// The number that it has.
        found: u64,
        /// The kind of part.
        what: &'static str,
        /// The limit.
        most: u64,
    },
    /// The component compiles, but no instance of it can be made here.
    #[error("plugin `{module}` does not fit into a place for instances: {problem}")]
    Unfit {
        /// The plugin's file, or the name of an upload.
        module: String,
        /// The engine's words, one line.
        problem: String,
    },
    /// The names fit, but a function has another signature.
    #[error("plugin `{module}` does not fit spandrel:plugin@0.1: build it again with its SDK")]
    Link {
        /// The plugin's file, or the name of an upload.
        module: String,
        /// The place where it does not fit.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The process that compiles failed.
    #[error("cannot compile plugin `{module}`")]
    Child {
        /// The plugin's file, or the name of an upload.
        module: String,
        /// The cause.
        #[source]
        source: ChildError,
    },
    /// The compiler did not finish in time. In this process it cannot be stopped, so it still runs.
    #[error(
        "compiling plugin `{module}` took longer than {} ms and still goes on: \
         no other plugin is compiled before it ends; build a smaller plugin, or allow more time",
        limit.as_millis()
    )]
    CompileTimeout {
        /// The plugin's file, or the name of an upload.
        module: String,
        /// The limit on its time.
        limit: Duration,
    },
    /// Another plugin has been compiling for longer than allowed.
    #[error(
        "plugin `{module}` was not compiled: another one has been compiled for longer than its \
         time allows and still goes on; try again when it has ended"
    )]
    CompilerBusy {
        /// The plugin's file, or the name of an upload.
        module: String,
    },
    /// No threads could be started for compiling.
    #[error("cannot compile plugin `{module}` for want of a thread: check the limit on threads")]
    CompileThreads {
        /// The plugin's file, or the name of an upload.
        module: String,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No instance could be made, for a reason in this process: all places for instances are taken.
    #[error("cannot instantiate plugin `{module}`: {hint}")]
    Instantiate {
        /// The plugin's file, or the name of an upload.
        module: String,
        /// The operator's remedy.
        hint: &'static str,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The plugin refused its config.
    #[error("plugin `{module}` refused its config: {message}")]
    Configure {
        /// The plugin's file, or the name of an upload.
        module: String,
        /// The plugin's words, one line.
        message: String,
    },
    /// The plugin failed before it was configured.
    #[error("plugin `{module}` failed in `configure`")]
    Faulted {
        /// The plugin's file, or the name of an upload.
        module: String,
        /// The fault.
        #[source]
        source: Fault,
    },
    /// The plugin's manifest breaks a rule of the contract.
    #[error("plugin `{module}` has a bad manifest: {problem}")]
    Manifest {
        /// The plugin's file, or the name of an upload.
        module: String,
        /// The rule that it breaks.
        problem: String,
    },
}
