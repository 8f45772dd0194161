//! Takes memory without end in `configure`.

use std::hint::black_box;

use spandrel_test_guests::*;

struct Guest;

guest!(Guest);

impl Behave for Guest {
    fn configure(_: String) -> Result<Manifest, String> {
        let mut taken = Vec::new();
        loop {
            taken.push(black_box(vec![1_u8; 1 << 20]));
        }
    }
}
