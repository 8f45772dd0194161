//! The only unsafe call of the project.
#![allow(
    unsafe_code,
    reason = "loading compiled code is unsafe by nature, see `deserialize`"
)]

use wasmtime::component::Component;

/// Loads code that this program compiled.
///
/// wasmtime checks that the code was made by the same version with the same settings, and nothing
/// more: the bytes are run. The caller vouches for them, and there are two callers:
///
/// - `cache`: the bytes come from a file in a directory that belongs to us and that nobody else may
///   write to. Their digest, which also covers the component and the engine's settings, is checked
///   right before. Anybody who can forge such a file can also replace the program.
/// - `load`: the bytes come through a pipe from a process that we started, of this same program,
///   right after it compiled a component. The process has limits, so that a compiler that runs wild
///   harms nobody else. The process does not guard against a component that makes the compiler
///   emit wrong code. Neither does compiling in this process: the code would be run in either case.
pub(crate) fn deserialize(engine: &wasmtime::Engine, code: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: `code` was made by `Component::serialize` of a compatible engine, as said above.
    unsafe { Component::deserialize(engine, code) }
}
