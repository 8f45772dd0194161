//! Takes a handle of the host's resources again and again, and gives none back.
#![allow(unsafe_code, reason = "what bindings would do, without giving back")]

use spandrel_test_guests::*;

#[link(wasm_import_module = "wasi:cli/stdout@0.2.0")]
unsafe extern "C" {
    #[link_name = "get-stdout"]
    safe fn get_stdout() -> u32;
}

struct Guest;

guest!(Guest);

impl Behave for Guest {
    fn process(_: u64, _: Vec<u8>) -> Reply {
        loop {
            std::hint::black_box(get_stdout());
        }
    }
}
