//! Bindings generated from `wit/v0.1`; nothing in here is written by hand.
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
    // A guest that asks twice gets a trap.
    imports: { "spandrel:plugin/host@0.1.0.batch": trappable },
    exports: { default: async },
});
