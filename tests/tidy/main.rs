//! The rules of this repository that no linter knows: allowed dependencies between crates, the form
//! of files, and no unused parts.

#![forbid(unsafe_code)]
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test fails by panicking"
)]

mod arrows;
mod files;
mod markdown;
mod methods;
mod modules;
mod prose;
mod source;
mod tree;
mod used;
mod words;
