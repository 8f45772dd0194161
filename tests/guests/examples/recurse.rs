//! Calls itself without end.

use std::hint::black_box;

use spandrel_test_guests::*;

struct Guest;

guest!(Guest);

impl Behave for Guest {
    fn process(ticket: u64, _: Vec<u8>) -> Reply {
        black_box(deeper(ticket));
        Reply::default()
    }
}

#[expect(unconditional_recursion, reason = "misbehaves on purpose")]
fn deeper(depth: u64) -> u64 {
    let frame = black_box([depth; 32]);
    deeper(frame.iter().sum()).wrapping_add(frame.len() as u64)
}
