//! WebAssembly plugins: the only crate that knows wasmtime.
//!
//! Read in the order in which a plugin comes alive: `codegen` (the WebAssembly features that guests
//! may use), [`engine`] (one for the process), [`compile`] and [`cache`] (a plugin's code), [`load`]
//! and [`generation`] (bytes + config, checked and configured), [`instance`] (one store, called by
//! one shard). `limits` has the parts of which a plugin may be made, `clock` the ticks that end its
//! calls, [`log`] and [`metrics`] its output, [`error`] the reasons why it did not load. The bytes of
//! a plugin come from `spandrel_supply`, which checks that they may run.
//!
//! A guest can never panic, block or grow the host: host functions return values or traps, every
//! call ends within its deadline, and after a fault the store is gone.

mod abi;
pub mod cache;
mod clock;
mod codegen;
pub mod compile;
pub mod engine;
pub mod error;
mod fault;
pub mod generation;
pub mod instance;
mod limits;
pub mod load;
pub mod log;
mod manifest;
pub mod metrics;
mod store;

pub use cache::CodeOrigin;
pub use compile::CompilerLocation;
pub use engine::{Engine, EngineConfig};
pub use error::LoadError;
pub use generation::{Generation, GenerationId};
pub use instance::Instance;
pub use load::LoadRequest;
pub use metrics::Metrics;
