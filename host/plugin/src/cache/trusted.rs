//! The only unsafe call of the project.
#![allow(
    unsafe_code,
    reason = "loading compiled code is unsafe by nature, see `deserialize`"
)]

use wasmtime::component::Component;

/// Loads code that this program compiled and sealed.
///
/// wasmtime checks that the code was made by the same version with the same settings, and nothing
/// more: the bytes are run. The caller vouches for them. In `cache` they come from a file in a
/// directory that belongs to us and that nobody else may write to, and their digest, which covers
/// the component and the engine's settings too, is checked right before. Whoever can forge such a file can also
/// replace the program.
pub(super) fn deserialize(engine: &wasmtime::Engine, code: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: `code` was made by `Component::serialize` of a compatible engine, as said above.
    unsafe { Component::deserialize(engine, code) }
}
