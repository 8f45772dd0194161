//! The fuzzer. It runs the target that `SPANDREL_FUZZ` names, and is started by `./run`.

#![no_main]
#![allow(
    unsafe_code,
    reason = "libFuzzer is C++, and calls what its macro exports"
)]
#![expect(
    clippy::expect_used,
    reason = "without a target there is nothing to run"
)]

use std::sync::LazyLock;

use spandrel_fuzz::Target;

static TARGET: LazyLock<&Target> = LazyLock::new(|| {
    let name = std::env::var("SPANDREL_FUZZ").expect("SPANDREL_FUZZ names a target");
    spandrel_fuzz::target(&name).expect("a target of this name")
});

libfuzzer_sys::fuzz_target!(|input: &[u8]| (TARGET.run)(input));
