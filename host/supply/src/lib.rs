//! The origin of plugins: where one comes from, whether it may run, and within which limits.
//!
//! Nothing here runs a plugin or knows wasmtime: the compiler gets only bytes that passed the checks
//! of this crate. Read [`digest`] (content has a name), [`signature`] (who vouches for it),
//! [`artifact`] (the bytes of a plugin, checked against both), [`fetch`] (bytes from other machines),
//! [`private_dir`] (a cache that nobody else can write to), [`limits`] (what a plugin may use).
//! [`text`] makes other people's words fit for messages.

#![forbid(unsafe_code)]

pub mod artifact;
pub mod digest;
pub mod fetch;
pub mod file;
pub mod limits;
pub mod private_dir;
pub mod signature;
pub mod text;

pub use artifact::{Artifact, ArtifactError, ArtifactSource};
pub use digest::Digest;
pub use fetch::{
    Credentials, FetchError, FetchRequest, FetchSettings, FetchSetupError, FetchedModule, Fetcher,
    HostPort, Network, RemoteSignature, RemoteSource, Url,
};
pub use limits::{CompileLimits, InstanceLimits, SHORTEST_DEADLINE};
pub use signature::{PublicKey, SignaturePolicy, SignatureSource};
