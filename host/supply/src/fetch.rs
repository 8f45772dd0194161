//! Gets plugins from HTTP servers and OCI registries.
//!
//! Nothing that is fetched is trusted: content is checked against a digest here, or against a
//! signature by the caller. Someone who writes a name into a configuration, or answers a request,
//! must not be able to make the collector talk to hosts that only it can reach. So hosts must be
//! listed. A name is resolved once, and the connection goes to an address that was checked.
//! Addresses that are not public must be listed, too. Each redirect follows the same rules.
//! Everything that is read has a size limit and a time limit.
//!
//! Read [`source`] (names of sources), [`settings`], [`host`] and [`address`] (permitted hosts and
//! addresses), `client` (one request), `oci` (a registry's protocol), `store` (content that was
//! fetched before), [`fetcher`] (all together).

pub mod address;
mod client;
pub mod error;
pub mod fetcher;
pub mod host;
mod oci;
pub mod resolve;
pub mod settings;
pub mod source;
mod store;

pub use address::Network;
pub use error::{FetchError, FetchSetupError};
pub use fetcher::{FetchRequest, FetchedModule, Fetcher, RemoteSignature};
pub use host::HostPort;
pub use settings::{Credentials, FetchSettings};
pub use source::{Reference, RemoteSource, Url};
