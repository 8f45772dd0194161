//! Drops spans that were seen a moment ago: a client that retries an export sends them again.

mod ids;
mod plugin;
mod seen;

pub use plugin::{Config, DropDuplicates};

spandrel_guest::export!(DropDuplicates);

#[cfg(test)]
mod tests;
