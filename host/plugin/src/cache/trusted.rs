//! The only unsafe call of the project.
#![allow(
    unsafe_code,
    reason = "loading compiled code is unsafe by nature, see `deserialize`"
)]

use wasmtime::component::Component;

/// Loads code that this program compiled.
///
/// wasmtime checks that the code was made by the same version with the same settings, and nothing
/// more: the bytes are run. The caller vouches for them, and there are two who do:
///
/// - `cache`: they come from a file in a directory that belongs to us and that nobody else may write
///   to, and their digest, which covers the component and the engine's settings too, is checked right
///   before. Whoever can forge such a file can also replace the program.
/// - `load`: they come through a pipe from a process that we started, of this same program, right
///   after it compiled a component. It is limited so that a compiler that runs wild harms nobody
///   else. It does not guard against a component that makes the compiler emit wrong code, nor does
///   compiling in this process: the code would be run in either case.
pub(crate) fn deserialize(engine: &wasmtime::Engine, code: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: `code` was made by `Component::serialize` of a compatible engine, as said above.
    unsafe { Component::deserialize(engine, code) }
}
