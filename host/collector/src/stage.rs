//! A stage of the running collector: its generations, how one is loaded, and what became of it.

pub(crate) mod awaited;
pub(crate) mod build;
pub(crate) mod drift;
pub(crate) mod lineup;
pub(crate) mod redact;
pub(crate) mod view;

pub use self::lineup::Watch;
