//! Why a plugin did not load.

use std::path::PathBuf;

use spandrel_pipeline::stage::Fault;

/// Why a plugin did not load: what, where, and what to do about it. The running generation, if
/// any, stays.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("cannot read plugin `{}`: check the path and its permissions", path.display())]
    Read {
        /// The plugin's file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is larger than a plugin may be.
    #[error(
        "plugin `{}` is larger than {} MiB: build it in release mode and strip it",
        path.display(), limit_bytes >> 20
    )]
    TooLarge {
        /// The plugin's file.
        path: PathBuf,
        /// The limit.
        limit_bytes: u64,
    },
    /// The file's content is not what the config pins.
    #[error(
        "plugin `{}` has sha256 {found}, the config pins {pinned}: \
         deploy the pinned file, or change `module.sha256`",
        path.display()
    )]
    Digest {
        /// The plugin's file.
        path: PathBuf,
        /// What the config asks for.
        pinned: String,
        /// What the file has.
        found: String,
    },
    /// The file is a core WebAssembly module.
    #[error(
        "plugin `{}` is a core WebAssembly module, not a component: \
         build it with `cargo build --release --target wasm32-wasip2`",
        path.display()
    )]
    CoreModule {
        /// The plugin's file.
        path: PathBuf,
    },
    /// The file is not WebAssembly at all.
    #[error("plugin `{}` is not a WebAssembly component: it starts with {found}", path.display())]
    NotAComponent {
        /// The plugin's file.
        path: PathBuf,
        /// Its first bytes, readable.
        found: String,
    },
    /// The component was built for another version of the contract.
    #[error(
        "plugin `{}` is built for spandrel:plugin@{found}, this collector knows {}: \
         build it with the SDK of one of these versions",
        path.display(), known.join(", ")
    )]
    UnknownAbi {
        /// The plugin's file.
        path: PathBuf,
        /// The version that the component names.
        found: String,
        /// The versions that this collector knows.
        known: Vec<&'static str>,
    },
    /// The component imports what no plugin gets.
    #[error(
        "plugin `{}` imports what this collector does not offer: {}. Plugins get \
         spandrel:plugin/host@0.1 and WASI 0.2 without files, sockets, environment or arguments",
        path.display(), imports.join(", ")
    )]
    Imports {
        /// The plugin's file.
        path: PathBuf,
        /// All that is not offered.
        imports: Vec<String>,
    },
    /// The component lacks a part of the contract.
    #[error(
        "plugin `{}` does not export {}: implement the `plugin` world, or use `export!` of the SDK",
        path.display(), exports.join(", ")
    )]
    Exports {
        /// The plugin's file.
        path: PathBuf,
        /// All that is missing.
        exports: Vec<String>,
    },
    /// The component does not compile.
    #[error("cannot compile plugin `{}`: the file is damaged or uses a feature that is off", path.display())]
    Compile {
        /// The plugin's file.
        path: PathBuf,
        /// The compiler's words.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The names fit, but a function has another signature.
    #[error("plugin `{}` does not fit spandrel:plugin@0.1: build it again with its SDK", path.display())]
    Link {
        /// The plugin's file.
        path: PathBuf,
        /// Where it does not fit.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No instance could be made, for a reason of this process: the pool is too small.
    #[error("cannot instantiate plugin `{}`: the pool of instances may be too small", path.display())]
    Instantiate {
        /// The plugin's file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The plugin refused its config.
    #[error("stage `{stage}`: plugin `{}` refused its config: {message}", path.display())]
    Configure {
        /// The stage whose config it is.
        stage: String,
        /// The plugin's file.
        path: PathBuf,
        /// The plugin's words, one line.
        message: String,
    },
    /// The plugin failed before it was configured.
    #[error("stage `{stage}`: plugin `{}` failed in `configure`", path.display())]
    Faulted {
        /// The stage.
        stage: String,
        /// The plugin's file.
        path: PathBuf,
        /// How it failed.
        #[source]
        source: Fault,
    },
    /// The plugin's manifest breaks a rule of the contract.
    #[error("plugin `{}` has a bad manifest: {problem}", path.display())]
    Manifest {
        /// The plugin's file.
        path: PathBuf,
        /// Which rule.
        problem: String,
    },
}
