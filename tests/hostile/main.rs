//! Untrusted input of any form: text as a configuration, bytes as a plugin. The real code runs in
//! this process, on inputs that are random or derived from good ones. By default there are a few;
//! the variables in `tests/README.md` set any number.

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

/// Returns a number from the environment, for the long form.
fn number(variable: &str, default: u64) -> u64 {
    match std::env::var(variable) {
        Ok(number) => number.parse().expect("a number"),
        Err(_) => default,
    }
}
