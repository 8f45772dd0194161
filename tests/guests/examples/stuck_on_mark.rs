//! Never comes back from a batch with a certain attribute in it, and from any other at once.

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
