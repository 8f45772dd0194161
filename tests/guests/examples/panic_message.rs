//! Panics, with a message of two lines and a control character in it.
#![expect(clippy::panic, reason = "misbehaves on purpose")]

use spandrel_test_guests::*;

struct Guest;

guest!(Guest);

impl Behave for Guest {
    fn process(_: u64, batch: Vec<u8>) -> Reply {
        panic!("cannot judge {} bytes\nsee \u{1b}[31mbelow", batch.len())
    }
}
