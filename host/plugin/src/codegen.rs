//! Code generation: the WebAssembly features that guests may use, and what compiled code must fit.

use std::hash::{Hash, Hasher};

use sha2::{Digest as _, Sha256};
use spandrel_supply::Digest;
use spandrel_supply::artifact::MAX_BYTES;
use wasmtime::{Config, Strategy};

/// The most code of one plugin. Compiled code is about four times its component.
pub(crate) const CODE_BYTES: u64 = 8 * MAX_BYTES;

/// Returns all settings that compiled code depends on.
pub(crate) fn settings() -> Config {
    let mut settings = Config::new();
    settings
        .strategy(Strategy::Cranelift)
        .epoch_interruption(true)
        // Calls of concurrent components have an overhead of 1 us a call; plugins of this contract
        // are not concurrent.
        .concurrency_support(false)
        // Features that no toolchain for plugins needs stay off, so that there is less of the
        // compiler to trust.
        .wasm_memory64(false)
        .wasm_relaxed_simd(false)
        .wasm_gc(false)
        .wasm_function_references(false)
        .wasm_exceptions(false)
        .wasm_wide_arithmetic(false)
        .wasm_custom_page_sizes(false)
        .wasm_stack_switching(false);
    settings
}

/// Makes an engine that only compiles: it makes the same code, and has no room for instances,
/// because the process has a limit on address space.
pub(crate) fn compiling_engine() -> wasmtime::Result<wasmtime::Engine> {
    wasmtime::Engine::new(&settings())
}

/// Returns a digest of everything except the component that compiled code depends on.
pub(crate) fn compatibility(engine: &wasmtime::Engine) -> Digest {
    /// Feeds a hash of the standard library's kind into a digest that is the same in each process.
    struct DigestHasher(Sha256);
    impl Hasher for DigestHasher {
        fn write(&mut self, bytes: &[u8]) {
            self.0.update(bytes);
        }
        fn finish(&self) -> u64 {
            0
        }
    }
    let mut hasher = DigestHasher(Sha256::new());
    engine.precompile_compatibility_hash().hash(&mut hasher);
    Digest::from(<[u8; 32]>::from(hasher.0.finalize()))
}
