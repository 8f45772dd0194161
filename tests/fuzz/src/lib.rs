//! The fuzz targets. Each target is a function of bytes that panics when a promise is broken. The
//! fuzzer (`./run TARGET`) searches for bytes that break one; `cargo test` replays the corpus.
//!
//! The modules of the wire crate's own property tests make requests and replies, and compute the
//! expected results. There random bytes decide, here those of the fuzzer do.

#![forbid(unsafe_code)]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a broken promise panics, and what is made here is as it was made"
)]

#[path = "../../../host/wire/tests/wire/dice.rs"]
mod dice;
#[path = "../../../host/wire/tests/wire/edit.rs"]
mod edit;
#[path = "../../../host/wire/tests/wire/ids.rs"]
mod ids;
#[path = "../../../host/wire/tests/wire/mess.rs"]
mod mess;
#[path = "../../../host/wire/tests/wire/metrics.rs"]
mod metrics;
#[path = "../../../host/wire/tests/wire/reading.rs"]
mod reading;
#[path = "../../../host/wire/tests/wire/replies.rs"]
mod replies;
#[path = "../../../host/wire/tests/wire/requests.rs"]
mod requests;

mod targets;

/// One target.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, which is also that of its corpus.
    pub name: &'static str,
    /// Runs it on one input.
    pub run: fn(&[u8]),
}

/// All targets.
pub const TARGETS: &[Target] = &[
    Target {
        name: "validate",
        run: targets::validate::run,
    },
    Target {
        name: "split",
        run: targets::split::run,
    },
    Target {
        name: "splice",
        run: targets::splice::run,
    },
    Target {
        name: "projection",
        run: targets::projection::run,
    },
    Target {
        name: "reply",
        run: targets::reply::run,
    },
    Target {
        name: "journal",
        run: targets::journal::run,
    },
    Target {
        name: "json",
        run: targets::json::run,
    },
    Target {
        name: "http1",
        run: targets::http1::run,
    },
    Target {
        name: "http2",
        run: targets::http2::run,
    },
];

/// Returns the target of this name.
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
