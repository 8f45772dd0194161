//! Never returns from a batch that contains a certain attribute, and at once from any other.

use spandrel_test_guests::*;

struct Guest;

guest!(Guest);

/// The key of the attribute.
const MARK: &[u8] = b"spandrel.test.poison";

impl Behave for Guest {
    fn process(_: u64, batch: Vec<u8>) -> Reply {
        while batch.windows(MARK.len()).any(|window| window == MARK) {
            std::hint::spin_loop();
        }
        Reply::default()
    }
}
