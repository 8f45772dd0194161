//! The house rules that no linter knows: who may depend on whom, what files look like, and that
//! nothing lies about unused.

#![forbid(unsafe_code)]
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod arrows;
mod files;
mod markdown;
mod tree;
mod used;
mod words;
