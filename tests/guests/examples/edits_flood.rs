//! Edits the first span two million times.

use spandrel_test_guests::*;

struct Guest;

guest!(Guest);

impl Behave for Guest {
    fn process(_: u64, batch: Vec<u8>) -> Reply {
        if batch.is_empty() {
            return Reply::default();
        }
        Reply {
            edits: [SET_NAME, 0, 0, 1].repeat(2_000_000),
            blob: b"x".to_vec(),
            ..Reply::default()
        }
    }
}
