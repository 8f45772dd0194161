//! Gets plugins from HTTP servers and OCI registries.
//!
//! Nothing that is fetched is trusted: what comes is checked against a digest here, or against a
//! signature by whoever asked. And whoever writes a name into a configuration, or answers a request,
//! must not make the collector talk to what only it can reach. So hosts must be listed; a name is
//! looked up once and what is connected to is an address that was looked at; addresses that are not
//! public must be listed, too; each redirect is under the same rules; and all that is read has a
//! limit and a time.
//!
//! Read [`source`] (what can be named), [`settings`], [`host`] and [`address`] (where one may go), `get` (one
//! request), `oci` (a registry's), `store` (what was pulled before), [`fetcher`] (all together).

#![forbid(unsafe_code)]

pub mod address;
pub mod digest;
pub mod error;
pub mod fetcher;
mod get;
pub mod host;
mod oci;
pub mod resolve;
pub mod settings;
pub mod source;
mod store;

pub use address::Network;
pub use digest::Digest;
pub use error::{FetchError, SetupError};
pub use fetcher::{Fetched, Fetcher, SignatureFrom, Wanted};
pub use host::HostPort;
pub use settings::{Credentials, Settings};
pub use source::{Reference, Source, Url};
