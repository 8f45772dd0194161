//! Copies and fills a part of its memory for ever: each of these instructions takes long by itself.

use std::hint::black_box;

use spandrel_test_guests::*;

struct Guest;

guest!(Guest);

impl Behave for Guest {
    fn process(_: u64, _: Vec<u8>) -> Reply {
        let mut memory = vec![1_u8; 32 << 20];
        loop {
            black_box(&mut memory).copy_within(1.., 0);
            black_box(&mut memory).fill(2);
        }
    }
}
