//! A stage of the running collector: its generations, how one is loaded, and what became of it.

pub(crate) mod drift;
pub(crate) mod load;
pub(crate) mod missing;
pub(crate) mod redact;
pub(crate) mod rollout;
pub(crate) mod view;

pub use self::rollout::Watch;
