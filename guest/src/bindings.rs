//! The code that `wit-bindgen` generates from `wit/v0.1`. Generated code stays in here.
#![allow(
    unsafe_code,
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    unused_qualifications,
    dead_code,
    clippy::all,
    clippy::pedantic,
    clippy::restriction,
    reason = "generated code"
)]

wit_bindgen::generate!({
    path: "../wit/v0.1",
    world: "plugin",
    pub_export_macro: true,
    export_macro_name: "__export_world",
    default_bindings_module: "spandrel_guest::bindings",
    runtime_path: "wit_bindgen::rt",
});
