//! WebAssembly plugins: the only crate that knows wasmtime.
//!
//! Read in the order in which a plugin comes alive: [`engine`] (one for the process), [`artifact`]
//! (the file), [`signature`] (its signer), [`compile`] and [`cache`] (its code), [`load`] and
//! [`generation`] (bytes + config, checked and configured), [`instance`] (one store, called by one
//! shard), [`probation`] (the comparison of a new generation with the one before). [`limits`] has
//! the resources that a guest may use, [`log`] and [`metrics`] its output, [`error`] the reasons
//! why it did not load.
//!
//! A guest can never panic, block or grow the host: host functions return values or traps, every
//! call ends within its deadline, and after a fault the store is gone.

mod abi;
pub mod artifact;
pub mod cache;
pub mod compile;
pub mod engine;
pub mod error;
mod fault;
pub mod generation;
pub mod instance;
pub mod limits;
pub mod load;
pub mod log;
pub mod metrics;
pub mod probation;
pub mod signature;
mod store;
mod text;

pub use cache::Code;
pub use compile::{Compile, CompileLimits};
pub use engine::SHORTEST_DEADLINE;
pub use engine::{Engine, EngineConfig};
pub use error::LoadError;
pub use generation::Generation;
pub use instance::Instance;
pub use limits::Limits;
pub use load::{Load, Module};
pub use metrics::Metrics;
pub use probation::ProbationConfig;
pub use signature::{PublicKey, SignatureSource, Signing};
