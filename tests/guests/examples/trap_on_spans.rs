//! Panics on every batch that has spans; an empty one is fine.

use spandrel_test_guests::*;

struct Guest;

guest!(Guest);

impl Behave for Guest {
    fn process(_: u64, batch: Vec<u8>) -> Reply {
        assert!(count_spans(&batch) == 0, "a batch with spans");
        Reply::default()
    }
}
