//! The text of the configuration: read from its sources, parsed, merged, expanded, and offered to
//! the readers key by key.

pub mod duration;
pub(crate) mod env;
pub mod json;
#[cfg(test)]
pub(crate) mod keys;
pub mod plugin_config;
pub(crate) mod scalar;
pub(crate) mod section;
pub mod source;
pub(crate) mod tree;
pub(crate) mod yaml;
