//! Panics on a batch that contains a certain attribute, and on no other.

use spandrel_test_guests::*;

struct Guest;

guest!(Guest);

/// The key of the attribute.
const MARK: &[u8] = b"spandrel.test.poison";

impl Behave for Guest {
    fn process(_: u64, batch: Vec<u8>) -> Reply {
        assert!(
            !batch.windows(MARK.len()).any(|window| window == MARK),
            "poisoned batch"
        );
        Reply::default()
    }
}
