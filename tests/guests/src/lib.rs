//! Guests for the tests. Each file of `examples` is one component that shows one behaviour.
//! Everything else comes from `Behave`: keep everything, hold nothing, remember nothing.
//!
//! Without the feature `guests` the package is empty, so it costs native builds nothing.

#[cfg(feature = "guests")]
mod behave;
#[cfg(feature = "guests")]
#[doc(hidden)]
pub mod bindings;

#[cfg(feature = "guests")]
pub use behave::*;
