//! Asks for as many random bytes as the number's type allows.
#![allow(unsafe_code, reason = "what bindings would do, without the result")]

use spandrel_test_guests::*;

#[link(wasm_import_module = "wasi:random/random@0.2.0")]
unsafe extern "C" {
    #[link_name = "get-random-bytes"]
    fn get_random_bytes(length: u64, result: *mut [usize; 2]);
}

struct Guest;

guest!(Guest);

impl Behave for Guest {
    fn process(_: u64, _: Vec<u8>) -> Reply {
        for length in [1 << 20, 1 << 32, 1 << 40, u64::MAX] {
            let mut result = [0; 2];
            // SAFETY: there is room for what is written: an address and a length.
            unsafe { get_random_bytes(length, &raw mut result) };
            std::hint::black_box(result);
        }
        Reply::default()
    }
}
