//! Makes the largest reply that its memory has room for.

use spandrel_test_guests::*;

struct Guest;

guest!(Guest);

impl Behave for Guest {
    fn process(_: u64, _: Vec<u8>) -> Reply {
        let mut blob = Vec::new();
        let mut more = 1 << 30;
        while more >= 1 << 16 {
            if blob.try_reserve_exact(more).is_ok() {
                blob.resize(more, 7_u8);
                break;
            }
            more /= 2;
        }
        Reply {
            blob,
            ..Reply::default()
        }
    }
}
