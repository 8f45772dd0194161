//! Generated from `wit/v0.1`; nothing written by hand is in here.
#![allow(
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    unused_qualifications,
    unsafe_code,
    clippy::all,
    clippy::pedantic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "generated"
)]

wasmtime::component::bindgen!({
    path: "../../wit/v0.1",
    world: "plugin",
    // A trap is how a guest is told that it asked twice.
    imports: { "spandrel:plugin/host@0.1.0.batch": trappable },
    exports: { default: async },
});
