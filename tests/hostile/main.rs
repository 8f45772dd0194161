//! What comes from outside in any shape: text as a configuration, bytes as a plugin. The real code,
//! in this process, on inputs that are made at random or out of good ones; a few here, as many as
//! wanted by the variables that `tests/README.md` names.

#![forbid(unsafe_code)]
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, and what is made here is as it was made"
)]

mod config;
mod plugins;

/// A number from the environment, for the long form.
fn number(variable: &str, default: u64) -> u64 {
    match std::env::var(variable) {
        Ok(number) => number.parse().expect("a number"),
        Err(_) => default,
    }
}
