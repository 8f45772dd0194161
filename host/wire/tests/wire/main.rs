//! Tests the wire crate against prost: for arbitrary requests, what is done to the bytes equals
//! what is done to the decoded objects.
//!
//! Each case is made from a list of random bytes, so that a failing case shrinks to a short list.
//! The default number of cases keeps this binary under 40 seconds; the full form is
//! `PROPTEST_CASES=50000 cargo test -p spandrel-wire --test wire`.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "what is made here is as it was made, and a test that panics fails"
)]

mod cases;
mod chain;
mod cut;
mod dice;
mod edit;
mod faults;
mod fields;
mod garbage;
mod held;
mod ids;
mod json;
mod mess;
mod metrics;
mod reading;
mod replies;
mod requests;
mod responses;
mod sizes;
mod splice;
mod split;
mod valid_items;
mod validate;
mod views;
mod words;
